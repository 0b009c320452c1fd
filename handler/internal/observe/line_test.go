package observe

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is written is what is read: each field goes through the handler's own JSON and comes back.
func TestALineIsReadAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full := Line{Time: at, Level: slog.LevelWarn, Message: invocation, Token: new(Token)}
	var fill func(v reflect.Value)
	n := 0
	fill = func(v reflect.Value) {
		for i := range v.NumField() {
			switch f := v.Field(i); {
			case !f.IsZero() && f.Kind() != reflect.Pointer:
			case f.Type() == reflect.TypeFor[time.Time]():
				f.Set(reflect.ValueOf(at))
			case f.Kind() == reflect.Pointer:
				fill(f.Elem())
			case f.Kind() == reflect.String:
				n++
				f.SetString("text " + strconv.Itoa(n))
			case f.Kind() == reflect.Bool:
				f.SetBool(true)
			case f.CanInt():
				n++
				f.SetInt(int64(n))
			case f.CanFloat():
				n++
				f.SetFloat(float64(n) + 0.25)
			default:
				t.Fatalf("a field of a kind that this test does not fill: %v", f.Type())
			}
		}
	}
	fill(reflect.ValueOf(&full).Elem())
	for name, line := range map[string]Line{
		"all fields": full,
		"none":       {Time: at, Message: invocation},
		"a gateway that gave no answer": {Time: at, Message: invocation, Level: slog.LevelError,
			Attempts: 3, Key: "primary",
			Status: 502},
	} {
		var out bytes.Buffer
		line.Log(t.Context(), slog.New(NewHandler(&out, &out, nil)))
		var got Line
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out.String())
		}
		if diff := cmp.Diff(line, got); diff != "" {
			t.Errorf("%s (-written +read):\n%s\n%s", name, diff, out.String())
		}
	}
}

func TestALineLeavesOutWhatSaysNothing(t *testing.T) {
	var out bytes.Buffer
	line := Line{Function: "orders", Status: 200, DurationMS: 1.5}
	line.Log(t.Context(), slog.New(NewHandler(&out, &out, nil)))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{"level": "INFO", "msg": "invocation", "function": "orders",
		"status": 200.0, "duration_ms": 1.5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	line.Log(t.Context(), slog.New(NewHandler(&out, &out, slog.LevelError)))
	if out.Len() > 0 {
		t.Errorf("want no line below the level, got %s", out.String())
	}
}
