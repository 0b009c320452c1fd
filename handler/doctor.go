package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/doctor"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/hostfile"
)

const doctorUsage = `usage: handler doctor [flags]             say why calls are refused, and how to mend it
       handler doctor -policy FILE        hold the token against a policy, rule by rule: any policy of
                                          API Management, as the portal shows it
       handler doctor -log LINE           explain a past call by its log line; "-" reads lines from standard input
       handler doctor -request            print what to ask of the team that owns the API
       handler doctor -show FILE          print a report that the function doctor answered; "-" for standard input
       handler doctor -explain CODE       print what a finding's code means, such as key-invalid

The app is read from $FUNCTIONS_APP_ROOT_PATH, else from the folder of this program, else from the working directory; its settings come from the
environment, and from local.settings.json where the environment has none of them. Exit status: 0 nothing found, warnings aside; 1 findings; 2 could
not run.

`

// doctorOptions are the command line's.
type doctorOptions struct {
	root, settings      string
	policies            policyFlags
	log, show, explain  string
	logGiven            bool // -log "" is a line too
	json, call, offline bool
	short               bool
	request             bool
	values              map[string]string

	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer

	app  *app.App
	set  *settings.Settings
	read *doctor.Policies // nil where no policy was given
}

// runDoctor is the command. Its exit statuses: 0, 1 findings, 2 could not run.
func runDoctor(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseDoctor(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	}
	o.environ, o.stdin, o.stdout, o.stderr = environ, stdin, stdout, stderr
	status, err := o.run(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "handler doctor: %v\n", err)
		return exitUsage
	}
	return status
}

func parseDoctor(args []string, stderr io.Writer) (*doctorOptions, error) {
	o := &doctorOptions{values: map[string]string{}}
	f := flag.NewFlagSet("handler doctor", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, doctorUsage); f.PrintDefaults() }
	f.StringVar(&o.root, "root", "", "script root: the `folder` with host.json and the functions")
	f.StringVar(&o.settings, "settings", "", "`file` like local.settings.json with the app settings; the environment's own go first")
	o.policies.register(f)
	f.StringVar(&o.log, "log", "", "log `line` to explain; - for lines on standard input")
	f.StringVar(&o.show, "show", "", "print the report in a `file`; - for standard input")
	f.StringVar(&o.explain, "explain", "", "print what a finding's `code` means")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.short, "short", false, "print findings and warnings alone")
	f.BoolVar(&o.call, "call", false, "call with every function's own method, POST included")
	f.BoolVar(&o.offline, "offline", false, "send nothing to the gateway")
	f.BoolVar(&o.request, "request", false, "print what to ask of the team that owns the API")
	f.Func("value", "`name=text` for an expression or catch-all parameter in the URL of the probes; may be repeated", func(v string) error {
		name, text, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return errors.New("want name=text")
		}
		o.values[strings.ToLower(name)] = text
		return nil
	})
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	f.Visit(func(f *flag.Flag) { o.logGiven = o.logGiven || f.Name == "log" })
	var err error
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unknown argument %q", f.Arg(0))
	default:
		err = o.policies.check()
	}
	if err != nil {
		fmt.Fprintf(stderr, "handler doctor: %v\n", err)
		f.Usage()
	}
	return o, err
}

func (o *doctorOptions) run(ctx context.Context) (int, error) {
	if o.explain != "" {
		return 0, doctor.WriteCause(o.stdout, o.explain)
	}
	if o.show != "" {
		return o.showReport()
	}
	if err := o.readSettings(); err != nil {
		return 0, err
	}
	var err error
	if o.read, err = o.policies.read(); err != nil {
		return 0, err
	}
	d := doctor.Options{
		Settings: o.set, Lookup: os.LookupEnv, Policies: o.read, Call: o.call, Offline: o.offline, Values: o.values,
	}
	switch {
	case o.logGiven:
		var lines io.Reader = strings.NewReader(o.log)
		if o.log == "-" {
			lines = o.stdin
		}
		report, err := doctor.Explain(lines, d)
		if err != nil {
			return 0, err
		}
		report.Program = version()
		return report.Exit(), o.write(report)
	case o.request:
		return 0, doctor.WriteRequest(ctx, o.stdout, d)
	}
	if !slices.ContainsFunc(o.app.Functions, func(f *app.Function) bool { return !f.Reserved() }) && len(o.app.Faults) == 0 {
		return 0, fmt.Errorf("reading the app: %s: no function there besides doctor and health: run `make app` and then build/app/handler doctor, or give -root", o.app.Root)
	}
	done := func() {}
	if terminal(o.stdout) && terminal(o.stderr) {
		d.Progress, done = progress(o.stderr)
	}
	report := doctor.Run(ctx, d)
	report.Program = version()
	done()
	return report.Exit(), o.write(report)
}

func (o *doctorOptions) write(r *doctor.Report) error {
	write := func(w io.Writer) error {
		return r.WriteTable(w, doctor.Style{Short: o.short, Colour: colour(o.stdout), Page: page()})
	}
	if o.json {
		write = r.WriteJSON
	}
	if err := write(o.stdout); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (o *doctorOptions) showReport() (int, error) {
	in := o.stdin
	if o.show != "-" {
		f, err := os.Open(o.show)
		if err != nil {
			return 0, fmt.Errorf("reading the report: %w", err)
		}
		defer f.Close()
		in = f
	}
	report, err := doctor.ReadJSON(in)
	if err != nil {
		return 0, fmt.Errorf("reading the report: want the JSON of the function doctor: %w", err)
	}
	return report.Exit(), o.write(report)
}

// readSettings finds the app and its settings as a person at a shell expects: with the deployed layout by themselves, else told.
func (o *doctorOptions) readSettings() error {
	env := settings.Index(o.environ)
	if o.root == "" {
		o.root = doctorRoot(env.Lookup)
	}
	if err := o.mergeSettings(env); err != nil {
		return err
	}
	env = settings.Index(o.environ)
	o.app = app.Load(o.root, env.App)
	o.set = settings.Load(env, o.app)
	settings.Scrub()
	return nil
}

// mergeSettings takes from local.settings.json what the environment has not, setting by setting, and
// says in one line what came from where.
func (o *doctorOptions) mergeSettings(env *settings.Environment) error {
	file := o.settings
	for _, candidate := range []string{filepath.Join(o.root, "local.settings.json"), "local.settings.json"} {
		if _, err := os.Stat(candidate); file == "" && err == nil {
			file = candidate
		}
	}
	own := ownSettings(o.environ)
	if file == "" {
		if len(own) == 0 {
			fmt.Fprintln(o.stderr, "neither the environment nor a local.settings.json holds settings of the app: "+
				"cp local.settings.json.example local.settings.json")
		}
		return nil
	}
	values, err := readLocalSettings(file)
	if err != nil {
		return err
	}
	for name, value := range values {
		if _, set := env.App(hostfile.ConfigurationName(name)); set {
			continue // as Azure Functions Core Tools has it
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("reading the settings: %s: %s: %w", file, name, err)
		}
		o.environ = append(o.environ, name+"="+value)
	}
	if len(own) == 0 {
		fmt.Fprintf(o.stderr, "settings from %s\n", file)
	} else {
		fmt.Fprintf(o.stderr, "settings from the environment: %s; the others from %s\n", strings.Join(own, ", "), file)
	}
	return nil
}

// doctorRoot is the script root for a person: the host's word, the folder of the staged program, the working directory.
func doctorRoot(lookup func(string) (string, bool)) string {
	if dir, ok := lookup("FUNCTIONS_APP_ROOT_PATH"); ok && dir != "" {
		return dir
	}
	if program, err := os.Executable(); err == nil {
		dir := filepath.Dir(program)
		if _, err := os.Stat(filepath.Join(dir, "host.json")); err == nil {
			return dir
		}
	}
	return "."
}

// ownSettings are the names of the app's settings that the environment holds, for all functions or for
// one.
func ownSettings(environ []string) (own []string) {
	names := append(settings.Names(), "TargetTentantID")
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		setting := name
		if i := strings.LastIndex(name, "__"); i >= 0 {
			setting = name[i+2:]
		}
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, setting) }) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	return own
}

// readLocalSettings reads a local.settings.json.
func readLocalSettings(file string) (map[string]string, error) {
	values, err := hostfile.Settings(file)
	if err == nil && len(values) == 0 {
		err = fmt.Errorf("%s: want settings under Values, got none", file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	return values, nil
}

// repository is the address of the project's repository, without a slash at its end. It is set by the
// linker where a package is made: -X main.repository=https://github.com/owner/name.
var repository string

// page is the address of the page that explains the findings of this release, or "".
func page() string {
	if repository == "" || release == "" {
		return ""
	}
	return repository + "/blob/v" + release + "/docs/troubleshooting.md"
}

// colour reports whether a person watches who wants colours (https://no-color.org).
func colour(w io.Writer) bool {
	return terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// terminal tells whether a person watches.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// progress shows the check that ended last on one line, which done clears.
func progress(w io.Writer) (report func(title string, done, all int), done func()) {
	started := time.Now()
	return func(title string, done, all int) {
			fmt.Fprintf(w, "\r\x1b[K%d of %d checks, %d s: %.60s", done, all, int(time.Since(started).Seconds()), title)
		}, func() {
			fmt.Fprint(w, "\r\x1b[K")
		}
}

// doctorFunction answers the function doctor: the checks of the command from inside the deployed
// app, as JSON, with what has been counted since the start. The status is 200 whatever it finds: a
// finding is its result, not its failure.
type doctorFunction struct {
	settings *settings.Settings
	sources  map[*app.Function]*token.Source
	all      []*token.Source
	counters *observe.Counters
	// running lets callers at the same time share one run: each sends requests to the gateway.
	running singleflight.Group
}

func (d *doctorFunction) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The run is nobody's own: a caller that leaves does not end it for the others.
	result := d.running.DoChan("", func() (any, error) {
		var body bytes.Buffer
		err := d.report(context.WithoutCancel(r.Context())).WriteJSON(&body)
		return body.Bytes(), err
	})
	select {
	case <-r.Context().Done():
	case made := <-result:
		body, _ := made.Val.([]byte) // WriteJSON into a buffer does not fail
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
}

func (d *doctorFunction) report(ctx context.Context) *doctor.Report {
	report := doctor.Run(ctx, doctor.Options{Settings: d.settings, Lookup: os.LookupEnv, Held: func(f *settings.Function) string {
		source := d.sources[f.App]
		if source == nil || !source.State().Usable {
			return ""
		}
		value, err := source.Token(ctx) // in hand: no waiting
		if err != nil {
			return ""
		}
		return value
	}})
	report.Program = version()
	var states []token.State
	for _, s := range d.all {
		states = append(states, s.State())
	}
	counts := d.counters.Counts()
	report.Counters = &doctor.Counters{
		Tokens: doctor.TokensOf(states, time.Now()), Retries: counts.Retries,
		Replays: counts.Replays, Refusals: counts.Refusals,
	}
	return report
}
