package app

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// shortened is the beginning of a long text.
func shortened(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// readJSON reads a file as the host does (Newtonsoft's JObject.Parse): comments, trailing commas
// and a byte order mark are fine. Single quotes and names without quotes, which Newtonsoft takes,
// too, are an error here.
func readJSON(path string) (*hujson.Object, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	value, err := hujson.Parse(data)
	if err != nil {
		// The library quotes what it stopped at, line breaks and all.
		text := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "hujson: ")), " ")
		return nil, fmt.Errorf("no valid JSON: %s", shortened(text))
	}
	object, ok := value.Value.(*hujson.Object)
	if !ok {
		return nil, fmt.Errorf("want a JSON object, got %s", kindName(value.Value.Kind()))
	}
	return object, nil
}

func kindName(k hujson.Kind) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 't', 'f':
		return "a boolean"
	}
	return "null"
}

func memberName(m hujson.ObjectMember) string { return stringText(m.Name.Value.(hujson.Literal)) }

// stringText is the text of a JSON string. It decodes only what has an escape, and hardly any text
// has one: Literal.String decodes each name at each look-up.
func stringText(l hujson.Literal) string {
	if n := len(l); n >= 2 && l[0] == '"' && bytes.IndexByte(l, '\\') < 0 && utf8.Valid(l) {
		return string(l[1 : n-1])
	}
	return l.String()
}

// member returns the value of a name; nil where it is missing. Newtonsoft finds an exact spelling
// first, then one in any case, and of two equal names the last.
func member(o *hujson.Object, name string) hujson.ValueTrimmed {
	var exact, found hujson.ValueTrimmed
	for _, m := range o.Members {
		switch written := memberName(m); {
		case written == name:
			exact = m.Value.Value
		case strings.EqualFold(written, name):
			found = m.Value.Value
		}
	}
	if exact != nil {
		return exact
	}
	return found
}

// flatten writes every leaf of a JSON object into config under its path in lower case, joined by
// colons, as .NET's configuration knows it.
func flatten(config map[string]string, path string, v hujson.ValueTrimmed) {
	join := func(name string) string {
		if path == "" {
			return strings.ToLower(name)
		}
		return path + ":" + strings.ToLower(name)
	}
	switch v := v.(type) {
	case *hujson.Object:
		for _, m := range v.Members {
			flatten(config, join(memberName(m)), m.Value.Value)
		}
	case *hujson.Array:
		for i, e := range v.Elements {
			flatten(config, join(strconv.Itoa(i)), e.Value)
		}
	case hujson.Literal:
		config[path] = literalText(v)
	}
}

func literalText(l hujson.Literal) string {
	switch l.Kind() {
	case '"':
		return stringText(l)
	case 'n':
		return ""
	}
	return string(l)
}

// plain turns a value into maps, slices, strings, float64, bool and nil, as encoding/json does;
// false where a number in it is too large.
func plain(v hujson.ValueTrimmed) (any, bool) {
	switch v := v.(type) {
	case *hujson.Object:
		out := make(map[string]any, len(v.Members))
		for _, m := range v.Members {
			value, ok := plain(m.Value.Value)
			if !ok {
				return nil, false
			}
			out[memberName(m)] = value
		}
		return out, true
	case *hujson.Array:
		out := make([]any, len(v.Elements))
		for i, e := range v.Elements {
			value, ok := plain(e.Value)
			if !ok {
				return nil, false
			}
			out[i] = value
		}
		return out, true
	case hujson.Literal:
		switch v.Kind() {
		case '"':
			return stringText(v), true
		case 't', 'f':
			return v.Kind() == 't', true
		case '0':
			n, err := strconv.ParseFloat(string(v), 64)
			return n, err == nil
		}
	}
	return nil, true
}
