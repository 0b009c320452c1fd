package host

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The handler of these tests is this test's own binary, run again: it answers what a script says
// and writes down what it got. It reads HTTP by its own few lines, so that a fault of the package
// under test shows.

const scriptVariable = "HOST_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if args := os.Getenv(hostVariable); args != "" &&
		os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT") == "" {
		os.Exit(runHost(args))
	}
	if path := os.Getenv(scriptVariable); path != "" {
		runScript(path)
		return
	}
	os.Exit(m.Run())
}

// script is what the handler does; the file is read again for each request.
type script struct {
	Out      string  // where events go, a line of JSON each
	Speed    float64 // pauses are so many times shorter
	Answered answer
	// at the start
	Stdout, Stderr   string
	ExitAtStart      *int
	ExitDelay        float64
	ListenAfter      float64
	NeverListen      bool
	CatchSignals     bool
	SilentClose      bool // close the connection after each answer without saying so
	PrintEnvironment bool
	PauseBetween     bool // between what goes to stdout and what goes to stderr
}

// answer is the recordings' "answered".
type answer struct {
	Status       int             `json:"status"`
	Headers      [][2]string     `json:"headers"`
	Body         json.RawMessage `json:"body,omitempty"`
	BodyBase64   string          `json:"bodyBase64"`
	BodyRepeat   int             `json:"bodyRepeat"`
	BodyBytes    int             `json:"bodyBytes"`
	Raw          string          `json:"raw"`
	Chunks       []any           `json:"chunks"`
	Delay        float64         `json:"delay"`
	Close        bool            `json:"close"`
	CloseAfter   bool            `json:"closeAfter"`
	CutBeforeEnd bool            `json:"cutBeforeEnd"`
	ClaimLength  int             `json:"claimLength"`
	NoLength     bool            `json:"noLength"`
	Exit         *int            `json:"exit"`
	ExitAfter    *int            `json:"exitAfter"`
	Signal       json.RawMessage `json:"signal,omitempty"`
	Stdout       []string        `json:"stdout"`
	Stderr       []string        `json:"stderr"`

	Default *answer            `json:"default"`
	Routes  map[string]*answer `json:"routes"`
	Probe   *answer            `json:"probe"`
}

// event is one line of the handler's notes.
type event struct {
	Ev      string    `json:"ev"`
	Pid     int       `json:"pid"`
	Conn    int       `json:"conn,omitempty"`
	Nth     int       `json:"nth,omitempty"`
	Code    int       `json:"code,omitempty"`
	Request *received `json:"request,omitempty"`
	Argv    []string  `json:"argv,omitempty"`
	Cwd     string    `json:"cwd,omitempty"`
	Environ []string  `json:"environ,omitempty"`
	At      time.Time `json:"at"`
}

type received struct {
	RequestLine string      `json:"requestLine"`
	Headers     [][2]string `json:"headers"`
	Framing     string      `json:"framing"`
	Chunks      []int       `json:"chunks"`
	Body        []byte      `json:"body"`
}

type scripted struct {
	path string
	mu   sync.Mutex
}

func (s *scripted) read() script {
	for range 50 {
		text, err := os.ReadFile(s.path)
		var sc script
		if err == nil && json.Unmarshal(text, &sc) == nil {
			return sc
		}
		time.Sleep(2 * time.Millisecond)
	}
	return script{}
}

func (s *scripted) note(sc script, e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Pid, e.At = os.Getpid(), time.Now()
	line, _ := json.Marshal(e)
	f, err := os.OpenFile(sc.Out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	_, _ = f.Write(append(line, '\n'))
	_ = f.Close()
}

func (sc script) pause(seconds float64) {
	time.Sleep(time.Duration(seconds / max(sc.Speed, 1) * float64(time.Second)))
}

func runScript(path string) {
	s := &scripted{path: path}
	sc := s.read()
	start := event{Ev: "start", Argv: os.Args}
	start.Cwd, _ = os.Getwd()
	if sc.PrintEnvironment {
		start.Environ = os.Environ()
	}
	s.note(sc, start)
	if sc.CatchSignals {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		go func() {
			for range caught {
				s.note(sc, event{Ev: "caught"})
			}
		}()
	}
	fmt.Fprint(os.Stdout, sc.Stdout)
	if sc.PauseBetween {
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Fprint(os.Stderr, sc.Stderr)
	if sc.ExitAtStart != nil {
		sc.pause(sc.ExitDelay)
		s.note(sc, event{Ev: "exit", Code: *sc.ExitAtStart})
		os.Exit(*sc.ExitAtStart)
	}
	if sc.NeverListen {
		s.note(sc, event{Ev: "neverListen"})
		select {}
	}
	sc.pause(sc.ListenAfter)
	ln, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s.note(sc, event{Ev: "listening"})
	for n := 1; ; n++ {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go s.serve(c, n)
	}
}

func (s *scripted) serve(c net.Conn, n int) {
	defer c.Close()
	r := bufio.NewReader(c)
	for nth := 1; ; nth++ {
		req, err := readScripted(r, c)
		if err != nil {
			s.note(s.read(), event{Ev: "connClosed", Conn: n})
			return
		}
		sc := s.read()
		method, target, _ := strings.Cut(req.RequestLine, " ")
		target, _, _ = strings.Cut(target, " ")
		a := &sc.Answered
		switch {
		case method == "GET" && target == "/":
			a = &answer{Status: 404}
			if sc.Answered.Probe != nil {
				a = sc.Answered.Probe
			}
		case sc.Answered.Routes[target] != nil:
			a = sc.Answered.Routes[target]
		case sc.Answered.Default != nil:
			a = sc.Answered.Default
		}
		s.note(sc, event{Ev: "request", Conn: n, Nth: nth, Request: req})
		if !s.reply(c, sc, a, n, nth, method) || sc.SilentClose {
			return
		}
	}
}

func readScripted(r *bufio.Reader, c net.Conn) (*received, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	req := &received{RequestLine: strings.TrimRight(line, "\r\n"), Framing: "none"}
	length, expect := -1, false
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		if strings.HasSuffix(line, ":") {
			name, value = line[:len(line)-1], ""
		}
		req.Headers = append(req.Headers, [2]string{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
			req.Framing = "content-length"
		case "transfer-encoding":
			req.Framing = "chunked"
		case "expect":
			expect = true
		}
	}
	if expect {
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	switch req.Framing {
	case "content-length":
		req.Body = make([]byte, length)
		_, err = io.ReadFull(r, req.Body)
	case "chunked":
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return nil, err
			}
			size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
			if err != nil {
				return nil, err
			}
			req.Chunks = append(req.Chunks, int(size))
			piece := make([]byte, size+2)
			if _, err := io.ReadFull(r, piece); err != nil {
				return nil, err
			}
			req.Body = append(req.Body, piece[:size]...)
			if size == 0 {
				break
			}
		}
	}
	return req, err
}

func (s *scripted) reply(c net.Conn, sc script, a *answer, n, nth int, method string) bool {
	for _, line := range a.Stdout {
		fmt.Fprint(os.Stdout, line)
	}
	for _, line := range a.Stderr {
		fmt.Fprint(os.Stderr, line)
	}
	sc.pause(a.Delay)
	if a.Exit != nil {
		s.note(sc, event{Ev: "exit", Code: *a.Exit})
		os.Exit(*a.Exit)
	}
	if a.Signal != nil {
		s.note(sc, event{Ev: "selfsignal"})
		number, _ := strconv.Atoi(strings.Trim(string(a.Signal), `"`))
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Signal(syscall.Signal(number))
		}
		select {}
	}
	if a.Close {
		s.note(sc, event{Ev: "closedByUs", Conn: n})
		return false
	}
	var b bytes.Buffer
	keep := !a.CloseAfter
	switch {
	case a.Raw != "":
		b.WriteString(a.Raw)
	default:
		keep = s.compose(&b, c, sc, a, method) && keep
	}
	_, _ = c.Write(b.Bytes())
	s.note(sc, event{Ev: "answered", Conn: n, Nth: nth, Code: a.Status})
	if a.ExitAfter != nil {
		sc.pause(0.2)
		s.note(sc, event{Ev: "exit", Code: *a.ExitAfter})
		os.Exit(*a.ExitAfter)
	}
	return keep
}

func (a *answer) body() []byte {
	if a.BodyBase64 != "" {
		body, _ := base64.StdEncoding.DecodeString(a.BodyBase64)
		return body
	}
	var text string
	if json.Unmarshal(a.Body, &text) != nil {
		var part abridged
		if json.Unmarshal(a.Body, &part) == nil && part.Starts != "" {
			text = part.regrow(max(a.BodyBytes, part.Bytes))
		}
	}
	if a.BodyRepeat > 0 {
		text = strings.Repeat(text, a.BodyRepeat)
	}
	return []byte(text)
}

func (s *scripted) compose(b *bytes.Buffer, c net.Conn, sc script, a *answer, method string) bool {
	status := a.Status
	if status == 0 {
		status = 200
	}
	fmt.Fprintf(b, "HTTP/1.1 %d R\r\n", status)
	hasLength := false
	for _, h := range a.Headers {
		fmt.Fprintf(b, "%s: %s\r\n", h[0], h[1])
		hasLength = hasLength || strings.EqualFold(h[0], "Content-Length")
	}
	if a.Chunks != nil {
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for _, item := range a.Chunks {
			if seconds, ok := item.(float64); ok {
				_, _ = c.Write(b.Bytes())
				b.Reset()
				sc.pause(seconds)
				continue
			}
			text := item.(string)
			fmt.Fprintf(b, "%x\r\n%s\r\n", len(text), text)
		}
		if a.CutBeforeEnd {
			return false
		}
		b.WriteString("0\r\n\r\n")
		return true
	}
	body := a.body()
	length := len(body)
	if a.ClaimLength > 0 {
		length = a.ClaimLength
	}
	if !hasLength && !a.NoLength && status != 204 {
		fmt.Fprintf(b, "Content-Length: %d\r\n", length)
	}
	b.WriteString("\r\n")
	if method != "HEAD" {
		b.Write(body)
	}
	return !a.NoLength && a.ClaimLength == 0
}

// abridged is a long text of a recording: its length (as first recorded, itself cut), beginning and
// end.
type abridged struct {
	Bytes  int    `json:"bytes"`
	Starts string `json:"starts"`
	Ends   string `json:"ends"`
}

// regrow makes the text again where it repeats itself, as all long ones of the recordings do.
func (a abridged) regrow(size int) string {
	period := len(a.Starts)
	for p := 1; p < len(a.Starts); p++ {
		if a.Starts[p:] == a.Starts[:len(a.Starts)-p] {
			period = p
			break
		}
	}
	return strings.Repeat(a.Starts[:period], size/period+1)[:size]
}
