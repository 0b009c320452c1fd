package hostfile

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// ReadObject reads a file that holds one object, as the host reads host.json and function.json. An
// error about the text is an *Error with the file's path.
func ReadObject(path string) (*Value, error) { return readObject(path, Options{}) }

func readObject(path string, o Options) (*Value, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := ParseObject(data, o)
	if bad := (*Error)(nil); errors.As(err, &bad) {
		bad.File = path
	}
	return v, err
}

// ParseObject is Parse for the bytes of a file that has to hold an object.
func ParseObject(data []byte, o Options) (*Value, error) {
	v, err := Parse(Decode(data), o)
	if err != nil {
		return nil, err
	}
	if v.Kind != Object {
		return nil, &Error{Line: v.Line, Cause: fmt.Sprintf("want an object, got %s", v.Kind)}
	}
	return v, nil
}

// Texts reads a file that holds one object of texts, such as the named values of a policy. Numbers
// and booleans become their text. A name that stands twice is an error.
func Texts(path string) (map[string]string, error) {
	object, err := readObject(path, Options{Repeated: true})
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(object.Members))
	for _, m := range object.Members {
		if _, twice := out[m.Name]; twice {
			return nil, &Error{path, m.Value.Line, shown(m.Name), "the name stands twice"}
		}
		if !m.Value.Scalar() || m.Value.Kind == Null {
			return nil, &Error{path, m.Value.Line, shown(m.Name), "want a text, got " + m.Value.Kind.String()}
		}
		out[m.Name] = m.Value.Written()
	}
	return out, nil
}

// Settings reads a local.settings.json as Azure Functions Core Tools does: the app settings under
// Values, where numbers and booleans become their text and null is a setting that is not set, and
// the section ConnectionStrings as settings ConnectionStrings:NAME. One that is encrypted is an
// error. Source: Azure/azure-functions-core-tools,
// src/Azure.Functions.Cli/Common/AppSettingsFile.cs.
func Settings(path string) (map[string]string, error) {
	object, err := ReadObject(path)
	if err != nil {
		return nil, err
	}
	if e := object.Fold("IsEncrypted"); e != nil && strings.EqualFold(e.Text(), "true") {
		return nil, &Error{path, e.Line, "IsEncrypted",
			"the file is encrypted: run `func settings decrypt`"}
	}
	out := map[string]string{}
	for _, section := range []string{"Values", "ConnectionStrings"} {
		v := object.Fold(section)
		if v == nil || v.Kind == Null {
			continue
		}
		if v.Kind != Object {
			return nil, &Error{path, v.Line, section, fmt.Sprintf("want an object, got %s", v.Kind)}
		}
		for _, m := range v.Members {
			name, value := m.Name, m.Value
			if section == "ConnectionStrings" {
				name = section + ":" + name
				if inner := value.Get("ConnectionString"); inner != nil {
					value = inner
				}
			}
			if !value.Scalar() {
				return nil, &Error{path, value.Line, section + "." + shown(m.Name),
					"want a text, got " + value.Kind.String()}
			}
			if value.Kind != Null {
				out[name] = value.Written()
			}
		}
	}
	return out, nil
}
