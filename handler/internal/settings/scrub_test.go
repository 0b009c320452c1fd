package settings

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"apimrelay/handler/internal/app"
)

// printEnvironment makes this test binary a child that prints what it inherited.
const printEnvironment = "SETTINGS_TEST_PRINT_ENVIRONMENT"

func TestMain(m *testing.M) {
	if os.Getenv(printEnvironment) != "" {
		for _, entry := range os.Environ() {
			_, _ = os.Stdout.WriteString(entry + "\n")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAChildInheritsNoSecret(t *testing.T) {
	secrets := []string{"ApimKey", "APIMKEY", "apimkey", "ApimKeySecondary", "APIMKEYSECONDARY", "FunctionIdentity", "FUNCTIONIDENTITY", "orders__ApimKey", "ORDERS__APIMKEYSECONDARY",
		"Gone__FunctionIdentity", "a__b__apimKey", "APPSETTING_ApimKey", "APPSETTING_orders__FunctionIdentity",
		"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "otel_exporter_otlp_traces_headers", "APPSETTING_OTEL_EXPORTER_OTLP_HEADERS"}
	kept := map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "IDENTITY_HEADER": "kept-header", "AzureWebJobsStorage": "UseDevelopmentStorage=true",
		"ApimKeyHeader": "X-Key", "ApimUrl": "https://contoso.azure-api.net", "MyApimKey": "not ours", "TargetApp": "api://x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
	for _, name := range secrets {
		t.Setenv(name, "canary-"+name)
	}
	for name, value := range kept {
		t.Setenv(name, value)
	}
	environ := os.Environ()
	s := load(t, map[string]string{"orders": plain}, environ)
	if !slices.ContainsFunc(s.Faults, func(f app.Fault) bool { return f.Setting == "FunctionIdentity" }) {
		t.Error("spellings with different values are no fault")
	}
	Scrub()

	t.Setenv(printEnvironment, "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(self).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "canary") {
		t.Errorf("the child inherits a secret:\n%s", out)
	}
	for name, value := range kept {
		if !strings.Contains(string(out), name+"="+value+"\n") {
			t.Errorf("the child lacks %s", name)
		}
	}
}

func TestLookupIgnoresCase(t *testing.T) {
	lookup := Index([]string{"abc=1", "ABC=2", "Empty=", "nonsense", "=C:=C:\\", "x=a=b"}).Lookup
	for name, want := range map[string]string{"abc": "1", "ABC": "2", "aBc": "1", "empty": "", "X": "a=b"} {
		if got, ok := lookup(name); !ok || got != want {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
	}
	for _, name := range []string{"nonsense", "", "abcd"} {
		if got, ok := lookup(name); ok {
			t.Errorf("%s: %q", name, got)
		}
	}
}
