package hostfile

import (
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Kind is what a Value is.
type Kind int

// The kinds of values. Date exists only where Options.Dates asks for it.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Date
	Array
	Object
)

// String is the kind in words, with an article where there is one.
func (k Kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a number", "a text", "a date", "an array",
		"an object"}[k]
}

// Value is a value of a JSON text as Newtonsoft.Json has it: a JToken. The zero value is null.
type Value struct {
	Kind    Kind
	Bool    bool
	Int     *big.Int
	Float   float64
	Str     string // String: its text; Date, Int and Float: as written
	Date    DateTime
	Items   []*Value // of an Array
	Members []Member // of an Object, in their order
	Line    int      // where it begins in its text, from 1; 0 for one that was made
}

// Member is a name of an object with its value.
type Member struct {
	Name  string
	Value *Value
}

// DateTime is .NET's: the moment, and what its writer makes of the zone.
type DateTime struct {
	Time time.Time
	Zone byte // 'Z' UTC, 'L' local: the text had an offset, 0 unspecified
}

// Text makes a String.
func Text(s string) *Value { return &Value{Kind: String, Str: s} }

// Get finds a member by its exact name; nil where there is none, or where v is no object.
func (v *Value) Get(name string) *Value {
	if v == nil || v.Kind != Object {
		return nil
	}
	for i := range v.Members {
		if v.Members[i].Name == name {
			return v.Members[i].Value
		}
	}
	return nil
}

// Fold finds a member in any case. An exact name wins; of several others the last does, as where
// Newtonsoft fills an object's properties. Nil where there is none, or where v is no object.
func (v *Value) Fold(name string) *Value {
	if v == nil || v.Kind != Object {
		return nil
	}
	var found *Value
	for i := range v.Members {
		switch m := v.Members[i]; {
		case m.Name == name:
			return m.Value
		case strings.EqualFold(m.Name, name):
			found = m.Value
		}
	}
	return found
}

// Set puts a member into an object. A name that exists keeps its place, as in a JObject.
func (v *Value) Set(name string, value *Value) {
	for i := range v.Members {
		if v.Members[i].Name == name {
			v.Members[i].Value = value
			return
		}
	}
	v.Members = append(v.Members, Member{name, value})
}

// Scalar reports whether v is neither an array nor an object.
func (v *Value) Scalar() bool { return v.Kind != Array && v.Kind != Object }

// Text is a scalar as Convert.ToString has it in the invariant culture: what a number, a boolean or
// a date becomes where the host needs a text, so 0x1F is 31 and true is True. Null is empty, as are
// an array and an object.
func (v *Value) Text() string {
	switch v.Kind {
	case Bool:
		if v.Bool {
			return "True"
		}
		return "False"
	case Int:
		return v.Int.String()
	case Float:
		return FormatDouble(v.Float)
	case String:
		return v.Str
	case Date:
		return v.Date.Time.Format("01/02/2006 15:04:05")
	}
	return ""
}

// Written is a scalar as a reader sees it that asks for a text: numbers and dates as they stand in
// the file (JsonReader.ReadAsString). Null is empty, as are an array and an object.
func (v *Value) Written() string {
	switch v.Kind {
	case Date, Int, Float:
		return v.Str
	case Bool:
		return strconv.FormatBool(v.Bool)
	}
	return v.Text()
}

// Any is v as encoding/json has it: map[string]any, []any, string, float64, bool and nil.
func (v *Value) Any() any {
	switch v.Kind {
	case Bool:
		return v.Bool
	case Int:
		f, _ := new(big.Float).SetInt(v.Int).Float64()
		return f
	case Float:
		return v.Float
	case String, Date:
		return v.Str
	case Array:
		out := make([]any, len(v.Items))
		for i, item := range v.Items {
			out[i] = item.Any()
		}
		return out
	case Object:
		out := make(map[string]any, len(v.Members))
		for _, m := range v.Members {
			out[m.Name] = m.Value.Any()
		}
		return out
	}
	return nil
}

// FormatDouble is double.ToString(InvariantCulture) of .NET Core 3.0 and later: the shortest text
// that reads back the same, with an exponent from 1E+15 on and below 1E-05.
func FormatDouble(f float64) string {
	switch {
	case f > maxDouble:
		return "Infinity"
	case f < -maxDouble:
		return "-Infinity"
	case f != f:
		return "NaN"
	case f == 0:
		return strconv.FormatFloat(f, 'f', -1, 64) // 0 or -0
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	n, _ := strconv.Atoi(exponent)
	switch {
	case n >= 15:
		return mantissa + "E+" + strconv.Itoa(n/10) + strconv.Itoa(n%10)
	case n < -5:
		return mantissa + "E-" + strconv.Itoa(-n/10) + strconv.Itoa(-n%10)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

const maxDouble = 1.7976931348623157e308
