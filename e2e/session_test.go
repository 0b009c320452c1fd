package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Keys of the sessions. They hold what escaping changes, so that a leak in any spelling is another text than the plain one.
const (
	primaryKey   = "canary-primary/1+a&b=c%d"
	secondaryKey = "canary-secondary/2+a&b=c%d"
	identityKey  = "canary-identity-header/3+a=="
	functionKey  = "canary-function-4_key~"
	masterKey    = "canary-master-5_key~"
)

// patience is how long a session waits for anything: builds of other packages may have the machine meanwhile.
const patience = 30 * time.Second

// session is the programs of one script and the settings that they are started with.
type session struct {
	dir      string
	settings map[string]string
	programs map[string]*program
	spy      *spy
}

// program is one that was started.
type program struct {
	cmd         *exec.Cmd
	out         output // stdout and stderr
	done        chan struct{}
	announcesID bool // it is the identity stand-in, which prints the identity header on purpose
}

// output is what a program wrote. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts a built program (handler or sandbox) with the session's settings as its environment, and nothing else of this process's but PATH and HOME.
func (s *session) start(name, file string, args ...string) (*program, error) {
	if file == "handler" {
		file = filepath.Join(s.dir, "app", "handler")
	} else {
		bin, err := programs()
		if err != nil {
			return nil, err
		}
		file = filepath.Join(bin, file)
	}
	p := &program{cmd: exec.Command(file, args...), done: make(chan struct{}), announcesID: len(args) > 0 && args[0] == "identity"}
	p.cmd.Dir = s.dir
	p.cmd.Env = s.environ()
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	s.programs[name] = p
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (s *session) environ() []string {
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": s.dir}
	maps.Copy(env, s.settings)
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	return list
}

// await polls a program's output until the pattern is there count times, and returns the last match.
func (p *program) await(pattern *regexp.Regexp, count int) ([]string, error) {
	deadline := time.Now().Add(patience)
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		if found := pattern.FindAllStringSubmatch(p.out.String(), -1); len(found) >= count {
			return found[len(found)-1], nil
		}
		if ended || time.Now().After(deadline) {
			return nil, fmt.Errorf("want %q %d time(s) (ended: %v), got:\n%s", pattern, count, ended, p.out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop sends a signal, waits for the end and returns the exit status as a shell has it.
func (p *program) stop(signal syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return 0, err
	}
	return p.wait()
}

func (p *program) wait() (int, error) {
	select {
	case <-p.done:
	case <-time.After(patience):
		return 0, fmt.Errorf("%s does not end:\n%s", p.cmd.Path, p.out.String())
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// close ends everything, the host before the stand-ins that its handler calls.
func (s *session) close() {
	for _, name := range slices.Sorted(maps.Keys(s.programs)) {
		p := s.programs[name]
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	if s.spy != nil {
		s.spy.server.Close()
	}
}

// leaks lists the secrets that stand in any output of the session's programs, in any of the spellings that a program could write by mistake.
func (s *session) leaks() []string {
	secrets := map[string]string{"primary key": primaryKey, "secondary key": secondaryKey, "identity header": identityKey, "function key": functionKey, "master key": masterKey}
	if s.spy != nil {
		s.spy.mu.Lock()
		for token := range s.spy.tokens {
			if value := strings.TrimPrefix(token, "Bearer "); value != "" {
				secrets[fmt.Sprintf("token %d", len(secrets))] = value
			}
		}
		s.spy.mu.Unlock()
	}
	var found []string
	for name, p := range s.programs {
		text := p.out.String()
		if p.announcesID {
			text = regexp.MustCompile(`(?m)^(IDENTITY_HEADER=|# application).*$`).ReplaceAllString(text, "")
		}
		for what, secret := range secrets {
			if glimpse(text, secret) != "" {
				found = append(found, what+" in the output of "+name)
			}
		}
	}
	slices.Sort(found)
	return found
}

// spellings are a secret as it is, escaped for URLs and JSON, and within a longer text in base64: at each of the three places where it can begin.
func spellings(secret string) []string {
	quoted, _ := json.Marshal(secret)
	list := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`)}
	for shift := range 3 {
		for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			whole := coding.EncodeToString([]byte(strings.Repeat("\x00", shift) + secret))
			// The first and the last characters hold bits of the neighbours.
			from, to := (8*shift+5)/6, len(whole)-1
			list = append(list, whole[from:to])
		}
	}
	return list
}

// TestLeaks breaks what the sessions hold: a program that writes a secret in any spelling is found out.
func TestLeaks(t *testing.T) {
	for name, text := range map[string]string{
		"plain":                      "key=" + primaryKey,
		"in JSON":                    `{"k":"canary-primary/1+a\u0026b=c%d"}`,
		"escaped for a query":        "?k=" + url.QueryEscape(primaryKey),
		"escaped for a path":         "/" + url.PathEscape(primaryKey) + "/",
		"base64":                     base64.StdEncoding.EncodeToString([]byte(primaryKey)),
		"base64 for URLs":            base64.URLEncoding.EncodeToString([]byte(primaryKey)),
		"within one byte of base64":  base64.StdEncoding.EncodeToString([]byte("x" + primaryKey + "tail")),
		"within two bytes of base64": base64.StdEncoding.EncodeToString([]byte("xy" + primaryKey + "tail")),
		"a fragment":                 "..." + primaryKey[9:9+fragment] + "...",
	} {
		p := &program{}
		fmt.Fprintln(&p.out, "a line\n"+text)
		s := &session{programs: map[string]*program{"handler": p}}
		if leaks := s.leaks(); len(leaks) != 1 {
			t.Errorf("%s: want one leak, got %q", name, leaks)
		}
	}
	clean := &program{}
	fmt.Fprintln(&clean.out, primaryKey[1:fragment]+", "+primaryKey[7:7+fragment-1]+" and nothing more")
	if leaks := (&session{programs: map[string]*program{"handler": clean}}).leaks(); len(leaks) != 0 {
		t.Errorf("want no leak, got %q", leaks)
	}
}
