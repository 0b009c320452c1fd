package host

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hostConfig is host.json with the app settings AzureFunctionsJobHost__* laid over it.
type hostConfig struct {
	root            *jvalue
	custom          bool // there is a customHandler (or httpWorker) section with a description
	legacyWorker    bool // the section is httpWorker: every HTTP function is forwarded, to /<Function>
	description     *jvalue
	executable      string
	forwarding      bool
	proxying        bool
	initTimeout     time.Duration
	port            int
	functionTimeout time.Duration // 0 unbounded
	routePrefix     string
	maxConcurrent   int
	maxOutstanding  int
	customHeaders   http.Header
	maxDequeue      int
	visibility      time.Duration
	retry           *retryPolicy
	allow           []string // "functions": only these, where the key is there
	hasAllow        bool
	telemetryMode   string
}

const overridePrefix = "AzureFunctionsJobHost"

// readHostJSON reads host.json. A fault means that the host never runs: it starts over and over and answers 503.
func readHostJSON(root string, environ []string) (*hostConfig, error) {
	text, err := os.ReadFile(filepath.Join(root, "host.json"))
	v := &jvalue{kind: jobject}
	switch {
	case os.IsNotExist(err):
		// The host writes one with only the version in it.
		v.set("version", jtext("2.0"))
	case err != nil:
		return nil, fmt.Errorf("reading host.json: %w", err)
	default:
		if v, err = parseWhole(string(text)); err != nil {
			return nil, fmt.Errorf("reading host.json: %w", err)
		}
		if v.kind != jobject {
			return nil, fmt.Errorf("reading host.json: want an object")
		}
	}
	if version := v.fold("version"); version == nil || version.raw() != "2.0" {
		return nil, fmt.Errorf("reading host.json: the file is missing the required 'version' property, or it is not \"2.0\"")
	}
	override(v, environ)
	c, err := interpretHostJSON(v)
	if err == nil && v.fold("functionTimeout") == nil {
		// ScriptJobHostOptionsSetup.cs: five minutes on the Consumption plan, thirty elsewhere.
		if sku, _ := settingLookup(environ)("WEBSITE_SKU"); strings.EqualFold(sku, "Dynamic") {
			c.functionTimeout = 5 * time.Minute
		}
	}
	return c, err
}

// override lays the settings of the form AzureFunctionsJobHost__section__key over the file, in any case, with __ or :.
func override(v *jvalue, environ []string) {
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		path := strings.Split(strings.ReplaceAll(name, "__", ":"), ":")
		if len(path) < 2 || !strings.EqualFold(path[0], overridePrefix) {
			continue
		}
		at := v
		for i, key := range path[1:] {
			if at.kind == jarray {
				n, err := strconv.Atoi(key)
				if err != nil || n < 0 || n > len(at.items) {
					break
				}
				if n == len(at.items) {
					at.items = append(at.items, &jvalue{kind: jobject})
				}
				if i == len(path)-2 {
					at.items[n] = jtext(value)
				}
				at = at.items[n]
				continue
			}
			if at.kind != jobject {
				break
			}
			for _, m := range at.members {
				if strings.EqualFold(m.name, key) {
					key = m.name
				}
			}
			if i == len(path)-2 {
				at.set(key, jtext(value))
				break
			}
			child := at.get(key)
			if child == nil || child.kind != jobject && child.kind != jarray {
				child = &jvalue{kind: jobject}
				at.set(key, child)
			}
			at = child
		}
	}
}

func interpretHostJSON(v *jvalue) (*hostConfig, error) {
	c := &hostConfig{root: v, initTimeout: 30 * time.Second, functionTimeout: 30 * time.Minute, routePrefix: "api", maxDequeue: 5,
		telemetryMode: textOf(v.fold("telemetryMode"))}
	section := v.fold("customHandler")
	if section == nil {
		section = v.fold("httpWorker")
		c.legacyWorker = section != nil
	}
	if d := section.fold("description"); d != nil && d.kind == jobject {
		c.custom, c.description = true, d
		c.executable = textOf(d.fold("defaultExecutablePath"))
	}
	c.forwarding = boolOf(section.fold("enableForwardingHttpRequest"), false)
	c.proxying = boolOf(section.fold("enableProxyingHttpRequest"), false)
	c.port, _ = strconv.Atoi(textOf(section.fold("port")))
	var err error
	if s := textOf(section.fold("initializationTimeout")); s != "" {
		if c.initTimeout, err = parseTimeSpan(s); err != nil {
			return nil, fmt.Errorf("reading host.json: customHandler.initializationTimeout: %w", err)
		}
	}
	if t := v.fold("functionTimeout"); t != nil && t.kind != jnull {
		switch s := textOf(t); {
		case s == "-1" || s == "-00:00:00.0010000" || s == "-00:00:01":
			c.functionTimeout = 0
		default:
			if c.functionTimeout, err = parseTimeSpan(s); err != nil || c.functionTimeout < time.Second {
				return nil, fmt.Errorf("reading host.json: functionTimeout: %q: want hh:mm:ss, one second at least, or \"-1\"", s)
			}
		}
	}
	section = v.fold("extensions").fold("http")
	if p := section.fold("routePrefix"); p != nil && p.kind == jstring {
		c.routePrefix = p.s // as it is: what a slash at one of its ends does is the template's matter
	}
	c.maxConcurrent, c.maxOutstanding = intOf(section.fold("maxConcurrentRequests"), -1), intOf(section.fold("maxOutstandingRequests"), -1)
	c.customHeaders = http.Header{}
	if h := section.fold("customHeaders"); h != nil && h.kind == jobject {
		for _, m := range h.members {
			c.customHeaders.Set(m.name, textOf(m.value))
		}
	}
	queues := v.fold("extensions").fold("queues")
	c.maxDequeue = intOf(queues.fold("maxDequeueCount"), 5)
	if s := textOf(queues.fold("visibilityTimeout")); s != "" {
		if c.visibility, err = parseTimeSpan(s); err != nil {
			return nil, fmt.Errorf("reading host.json: extensions.queues.visibilityTimeout: %w", err)
		}
	}
	if r := v.fold("retry"); r != nil {
		if c.retry, err = readRetry(r); err != nil {
			return nil, fmt.Errorf("reading host.json: retry: %w", err)
		}
	}
	if f := v.fold("functions"); f != nil && f.kind == jarray {
		c.hasAllow = true
		for _, item := range f.items {
			c.allow = append(c.allow, item.raw())
		}
	}
	return c, nil
}

func textOf(v *jvalue) string {
	if v == nil || !v.scalar() {
		return ""
	}
	return v.raw()
}

func boolOf(v *jvalue, def bool) bool {
	switch s := strings.ToLower(textOf(v)); s {
	case "true", "false":
		return s == "true"
	}
	return def
}

func intOf(v *jvalue, def int) int {
	if n, err := strconv.Atoi(textOf(v)); err == nil {
		return n
	}
	return def
}

// retryPolicy is a function's "retry", or host.json's for all.
type retryPolicy struct {
	exponential bool
	max         int // -1 unlimited
	delay       time.Duration
	least, most time.Duration
}

func readRetry(v *jvalue) (*retryPolicy, error) {
	p := &retryPolicy{max: intOf(v.fold("maxRetryCount"), 0)}
	span := func(name string, into *time.Duration) error {
		s := textOf(v.fold(name))
		if s == "" {
			return fmt.Errorf("%s is missing", name)
		}
		d, err := parseTimeSpan(s)
		*into = d
		return err
	}
	if v.fold("maxRetryCount") == nil {
		return nil, fmt.Errorf("maxRetryCount is missing")
	}
	switch s := textOf(v.fold("strategy")); strings.ToLower(s) {
	case "fixeddelay":
		return p, span("delayInterval", &p.delay)
	case "exponentialbackoff":
		p.exponential = true
		if err := span("minimumInterval", &p.least); err != nil {
			return nil, err
		}
		return p, span("maximumInterval", &p.most)
	default:
		return nil, fmt.Errorf("strategy: %q: want fixedDelay or exponentialBackoff", s)
	}
}

// wait is the pause in front of retry n (1 is the first). The host randomizes an exponential one by a fifth (recording C-timer-retry: 1 s, then
// 1.997 s).
func (p *retryPolicy) wait(n int, random float64) time.Duration {
	if !p.exponential {
		return p.delay
	}
	d := float64(p.least)
	if n > 1 {
		step := float64(time.Second) * (0.8 + 0.4*random)
		d += step * float64((int64(1)<<min(n-1, 30))-1)
	}
	return min(time.Duration(d), p.most)
}
