package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"
)

// TestScript runs the sessions in testdata/script against the built programs. Beside testscript's own commands they know:
//
//	setting NAME=VALUE …, setting -NAME    what programs are started with
//	standins                               identity endpoint and gateway with the deployed policies; settings for them; a spy in front of the gateway
//	start NAME PROGRAM [ARG…]              starts handler or sandbox
//	host [ARG…]                            sandbox host on app/; $HOST
//	handler                                the handler by itself on a free port; $HANDLER
//	await NAME REGEXP [COUNT]              waits until a program has written it; named groups become variables
//	logged NAME REGEXP [COUNT]             it has, COUNT times
//	quit NAME SIGNAL, ended NAME           ends it, or waits for its end; prints its exit status
//	http METHOD URL [HEADER…] [@BODY]      prints status, header and body
//	until STATUS METHOD URL [HEADER…]      the same until the status is that
//	seen, forget                           what reached the gateway, a line each; forgets it
//	occupy NAME, freeport NAME             a port that is taken, or free, into a variable
//	records CONSOLE COUNT                  waits for so many records of the gateway and prints them, and how many idempotency keys they have
//	certificate NAME                       NAME.pem and NAME-key.pem (with its key), and $NAME_P12 as a Key Vault secret has it
//	flags proxying=BOOL forwarding=BOOL    host.json's
//
// At the end of each session no output of any program may hold a secret.
func TestScript(t *testing.T) {
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	policies, err := filepath.Abs("../deploy/policies")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			s := &session{dir: env.WorkDir, settings: map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom", "PollSchedule": "0 0 0 1 1 *"}, programs: map[string]*program{}}
			env.Values[sessionKey{}] = s
			env.Vars = append(env.Vars, "POLICIES="+policies, "SANDBOX="+filepath.Join(bin, "sandbox"), "KEY=x-functions-key: "+functionKey, "MASTER=x-functions-key: "+masterKey,
				"LARGE="+strings.Repeat("x", 60<<10)) // fits into a queue message, not with a reason in base64
			env.Defer(func() {
				s.close()
				for _, leak := range s.leaks() {
					t.Errorf("%s: the %s", filepath.Base(env.WorkDir), leak)
				}
			})
			return stage(filepath.Join(env.WorkDir, "app"), "relay", "poll", "health")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"setting": setting, "standins": standins, "start": start, "host": startHost, "handler": startHandler, "await": await, "logged": logged,
			"quit": quit, "ended": ended, "http": call, "until": until, "seen": seen, "forget": forget, "occupy": occupy, "freeport": freePort, "flags": flags,
			"records": records, "certificate": certificate,
		},
	})
}

type sessionKey struct{}

func of(ts *testscript.TestScript) *session { return ts.Value(sessionKey{}).(*session) }

func setting(ts *testscript.TestScript, _ bool, args []string) {
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "-"); ok {
			delete(of(ts).settings, name)
			continue
		}
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("setting: want NAME=VALUE, got %q", arg)
		}
		of(ts).settings[name] = value
	}
}

func standins(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	id, err := s.start("identity", "sandbox", "identity", "-addr", "127.0.0.1:0", "-manage", "127.0.0.1:0", "-header", identityKey)
	ts.Check(err)
	m, err := id.await(regexp.MustCompile(`IDENTITY_ENDPOINT=(\S+)\n(?s:.*?)metadata (\S+)\n(?s:.*?)management API: (\S+)`), 1)
	ts.Check(err)
	endpoint, metadata := m[1], m[2]
	ts.Setenv("IDENTITY", m[3])
	const app = "5a9d0b0c-0000-4000-8000-0000000000a1"
	values, _ := json.Marshal(map[string]string{"openid-config-url": metadata, "client-id": app, "app-id-uri": "api://" + app})
	ts.Check(os.WriteFile(filepath.Join(s.dir, "named-values.json"), values, 0o600))
	policies := ts.Getenv("POLICIES")
	line := []string{"gateway", "-addr", "127.0.0.1:0", "-manage", "127.0.0.1:0", "-path", "orders", "-policy", filepath.Join(policies, "api.xml"),
		"-named-values", "named-values.json", "-key", primaryKey, "-secondary-key", secondaryKey, "-metadata-retry", "0s", "-operation", "GET /*"}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		line = append(line, "-operation", method+" /*="+filepath.Join(policies, "operation-write.xml"))
	}
	gw, err := s.start("gateway", "sandbox", append(line, args...)...)
	ts.Check(err)
	m, err = gw.await(regexp.MustCompile(`gateway (http://[^/]+)/orders\n(?s:.*?)management (\S+)\n`), 1)
	ts.Check(err)
	ts.Setenv("GATEWAY", m[2])
	ts.Setenv("ISSUER", strings.TrimSuffix(endpoint, "/msi/token"))
	s.spy, err = spyOn(m[1])
	ts.Check(err)
	setting(ts, false, []string{
		"IDENTITY_ENDPOINT=" + endpoint, "IDENTITY_HEADER=" + identityKey, "TargetApp=api://" + app, "TargetTenantID=5a9d0b0c-0000-4000-8000-000000000001",
		"FunctionIdentity=RunAs=App;AppId=5a9d0b0c-0000-4000-8000-0000000000c1", "ApimUrl=" + s.spy.server.URL + "/orders",
		"ApimKey=" + primaryKey, "ApimKeySecondary=" + secondaryKey,
	})
	ts.Setenv("API", s.spy.server.URL+"/orders")
	ts.Setenv("PRIMARY", primaryKey)
	ts.Setenv("SECONDARY", secondaryKey)
}

func start(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM [ARG...]")
	}
	_, err := of(ts).start(args[0], args[1], args[2:]...)
	ts.Check(err)
}

func startHost(ts *testscript.TestScript, _ bool, args []string) {
	p, err := of(ts).start("host", "sandbox", append([]string{"host", "-root", "app", "-addr", "127.0.0.1:0", "-function-key", functionKey, "-master-key", masterKey, "-json"}, args...)...)
	ts.Check(err)
	m, err := p.await(regexp.MustCompile(`serving \S+ on (http://\S+)`), 1)
	ts.Check(err)
	ts.Setenv("HOST", m[1])
}

func startHandler(ts *testscript.TestScript, _ bool, _ []string) {
	s := of(ts)
	freePort(ts, false, []string{"HANDLER_PORT"})
	s.settings["FUNCTIONS_CUSTOMHANDLER_PORT"], s.settings["FUNCTIONS_APP_ROOT_PATH"] = ts.Getenv("HANDLER_PORT"), filepath.Join(s.dir, "app")
	p, err := s.start("handler", "handler")
	ts.Check(err)
	ts.Setenv("HANDLER", "http://127.0.0.1:"+ts.Getenv("HANDLER_PORT"))
	deadline := time.Now().Add(patience)
	for {
		res, err := http.Get(ts.Getenv("HANDLER") + "/")
		if err == nil {
			res.Body.Close()
			return
		}
		select {
		case <-p.done:
			ts.Fatalf("the handler ended:\n%s", p.out.String())
		default:
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the handler does not listen: %v\n%s", err, p.out.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func programOf(ts *testscript.TestScript, name string) *program {
	p := of(ts).programs[name]
	if p == nil {
		ts.Fatalf("no program %q was started", name)
	}
	return p
}

// pattern reads NAME REGEXP [COUNT].
func pattern(ts *testscript.TestScript, args []string) (*program, *regexp.Regexp, int) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("want NAME REGEXP [COUNT], got %q", args)
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	count := -1
	if len(args) == 3 {
		count, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	return programOf(ts, args[0]), re, count
}

func await(ts *testscript.TestScript, _ bool, args []string) {
	p, re, count := pattern(ts, args)
	m, err := p.await(re, max(count, 1))
	ts.Check(err)
	for i, name := range re.SubexpNames() {
		if name != "" {
			ts.Setenv(name, m[i])
		}
	}
}

func logged(ts *testscript.TestScript, neg bool, args []string) {
	p, re, count := pattern(ts, args)
	text := p.out.String()
	got := len(re.FindAllString(text, -1))
	switch {
	case neg && got > 0:
		ts.Fatalf("%s wrote what it should not, %q:\n%s", args[0], args[1], text)
	case !neg && (got == 0 || count >= 0 && got != count):
		ts.Fatalf("%s wrote %q %d time(s):\n%s", args[0], args[1], got, text)
	}
}

func quit(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	if len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: quit NAME TERM|INT|KILL")
	}
	status, err := programOf(ts, args[0]).stop(signals[args[1]])
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "exit status %d\n", status)
}

func ended(ts *testscript.TestScript, _ bool, args []string) {
	status, err := programOf(ts, args[0]).wait()
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "exit status %d\n%s", status, programOf(ts, args[0]).out.String())
}

// client follows nothing and keeps no connection: the host may end in between.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// hostsHeader is the host's, without which the handler answers nobody.
const hostsHeader = "X-Azure-Functions-Invocationid"

var sends atomic.Int64

func send(args []string) (status int, text string, err error) {
	if len(args) < 2 {
		return 0, "", errors.New("want METHOD URL [HEADER...] [@BODY]")
	}
	var body io.Reader
	headers := args[2:]
	if len(headers) > 0 {
		if b, ok := strings.CutPrefix(headers[len(headers)-1], "@"); ok {
			body, headers = strings.NewReader(b), headers[:len(headers)-1]
		}
	}
	req, err := http.NewRequest(args[0], args[1], body)
	if err != nil {
		return 0, "", err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Add(name, value)
	}
	if req.Header[hostsHeader] == nil {
		req.Header[hostsHeader] = []string{fmt.Sprint("script-", sends.Add(1))}
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "status %d\n", res.StatusCode)
	var lines []string
	for name, values := range res.Header {
		lines = append(lines, name+": "+strings.Join(values, ", ")+"\n")
	}
	slices.Sort(lines)
	fmt.Fprintf(&b, "%s\n%s", strings.Join(lines, ""), answer)
	for _, text := range canaries()[1:] { // tokens are what an identity endpoint answers with
		if strings.Contains(b.String(), text) {
			return 0, "", fmt.Errorf("the answer holds %q of a secret:\n%s", text, b.String())
		}
	}
	return res.StatusCode, b.String(), nil
}

func call(ts *testscript.TestScript, _ bool, args []string) {
	_, text, err := send(args)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), text)
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		status, text, err := send(args[1:])
		if err == nil && status == want {
			fmt.Fprint(ts.Stdout(), text)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("want status %d, got %q, %v", want, text, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func seen(ts *testscript.TestScript, _ bool, _ []string) {
	all := of(ts).spy.seen()
	fmt.Fprintf(ts.Stdout(), "%d call(s)\n", len(all))
	for _, r := range all {
		key := "other"
		switch r.Header.Get("Ocp-Apim-Subscription-Key") {
		case primaryKey:
			key = "primary"
		case secondaryKey:
			key = "secondary"
		case "":
			key = "none"
		}
		fmt.Fprintf(ts.Stdout(), "%s %s key=%s caller=%s idempotency=%s body=%s\n", r.Method, r.URL, key, callerOf(r.Header.Get("Authorization")),
			r.Header.Get("Idempotency-Key"), r.Body)
	}
}

func forget(ts *testscript.TestScript, _ bool, _ []string) { of(ts).spy.forget() }

func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// certificate makes one that signs itself, for a client.
func certificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[0]}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	made, err := x509.ParseCertificate(der)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pem"), text, 0o600))
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+"-key.pem"), text, 0o600))
	packed, err := pkcs12.Modern2023.Encode(key, made, nil, "")
	ts.Check(err)
	ts.Setenv(args[0]+"_P12", base64.StdEncoding.EncodeToString(packed))
}

func flags(ts *testscript.TestScript, _ bool, args []string) {
	file := filepath.Join(of(ts).dir, "app", "host.json")
	data, err := os.ReadFile(file)
	ts.Check(err)
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		property := map[string]string{"proxying": "enableProxyingHttpRequest", "forwarding": "enableForwardingHttpRequest"}[name]
		re := regexp.MustCompile(`"` + property + `": *(true|false)`)
		if property == "" || !re.Match(data) {
			ts.Fatalf("flags: host.json has no %s", name)
		}
		data = re.ReplaceAll(data, []byte(`"`+property+`": `+value))
	}
	ts.Check(os.WriteFile(file, data, 0o644))
}

func records(ts *testscript.TestScript, _ bool, args []string) {
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	deadline := time.Now().Add(patience)
	for {
		var list []struct {
			Method, Path, IdempotencyKey string
			Status                       int
		}
		_, text, err := send([]string{"GET", args[0] + "/gateway/requests"})
		if err == nil {
			_, body, _ := strings.Cut(text, "\n\n")
			err = json.Unmarshal([]byte(body), &list)
		}
		if err == nil && len(list) == count {
			keys := map[string]bool{}
			for _, r := range list {
				keys[r.IdempotencyKey] = true
				fmt.Fprintf(ts.Stdout(), "%s %s -> %d %s\n", r.Method, r.Path, r.Status, r.IdempotencyKey)
			}
			fmt.Fprintf(ts.Stdout(), "%d idempotency key(s)\n", len(keys))
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("want %d records, got %v, %v\n%s", count, list, err, of(ts).programs["everything"].out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
