package policy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// element is one XML element with the lines that error messages need.
type element struct {
	name     string
	attrs    []attribute
	children []*element
	text     string   // character data outside child elements, as written
	pieces   []string // of the text, while it is read
	file     string
	line     int
	// foreign holds the namespaces of this element and its attributes. A policy has none; a body that
	// one makes may.
	foreign Errors
}

type attribute struct {
	name, value string
	line        int
}

func (e *element) fault(format string, args ...any) *Error {
	return &Error{File: e.file, Line: e.line, Text: fmt.Sprintf(format, args...)}
}

// attr returns the value of an attribute, "" when it is absent.
func (e *element) attr(name string) string {
	value, _ := e.lookup(name)
	return value
}

func (e *element) lookup(name string) (string, bool) {
	for _, a := range e.attrs {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

// child returns the first child of that name, or nil.
func (e *element) child(name string) *element {
	for _, c := range e.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// each returns the children of that name. A nil element has none.
func (e *element) each(name string) []*element {
	if e == nil {
		return nil
	}
	var found []*element
	for _, c := range e.children {
		if c.name == name {
			found = append(found, c)
		}
	}
	return found
}

// MaxSize bounds a policy document, as API Management does:
// https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits#api-management-limits
const MaxSize = 256 << 10

// Far beyond what any element needs; they keep hostile input from taking time and stack.
const (
	maxDepth      = 32
	maxAttributes = 64
)

// parseXML reads one document into a tree. It is stricter than encoding/xml, which lets pass what no
// XML reader should: attributes given twice, several roots, text around the root. A namespace is a
// fault of its element, kept there: a body that a policy makes may have some.
func parseXML(file string, r io.Reader) (*element, Errors) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, Errors{{File: file, Line: 1, Text: fmt.Sprintf("reading the policy: %v", err)}}
	}
	if len(data) > MaxSize {
		return nil, Errors{{File: file, Line: 1, Text: fmt.Sprintf("policy is larger than the %d bytes that API Management takes", MaxSize)}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data, unfinished := escapeExpressions(file, data)
	if unfinished != nil {
		return nil, Errors{unfinished}
	}
	var (
		root   *element
		open   []*element
		faults Errors
		dec    = xml.NewDecoder(bytes.NewReader(data))
	)
	// The text has been turned into UTF-8, whatever its declaration says.
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	fault := func(line int, format string, args ...any) {
		faults = append(faults, &Error{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
	}
	for {
		line, _ := dec.InputPos()
		start := dec.InputOffset()
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fault(syntaxFault(line, err))
			return nil, faults
		}
		switch t := token.(type) {
		case xml.StartElement:
			e := &element{name: t.Name.Local, file: file, line: line}
			if t.Name.Space != "" {
				e.foreign = append(e.foreign, e.fault("element <%s> has a namespace: policies have none", e.name))
			}
			lines := attributeLines(data[start:dec.InputOffset()], line)
			if len(t.Attr) > maxAttributes {
				fault(line, "element <%s> has %d attributes: want at most %d", e.name, len(t.Attr), maxAttributes)
				return nil, faults
			}
			for i, a := range t.Attr {
				at := line
				if i < len(lines) {
					at = lines[i]
				}
				if a.Name.Space != "" || a.Name.Local == "xmlns" {
					e.foreign = append(e.foreign, &Error{
						File: file, Line: at,
						Text: fmt.Sprintf("attribute %q of <%s> is a namespace: policies have none", a.Name.Local, e.name),
					})
					continue
				}
				if _, twice := e.lookup(a.Name.Local); twice {
					fault(at, "attribute %q of <%s> stands twice", a.Name.Local, e.name)
					continue
				}
				e.attrs = append(e.attrs, attribute{a.Name.Local, a.Value, at})
			}
			switch {
			case len(open) >= maxDepth:
				fault(line, "element <%s> is nested deeper than %d levels", e.name, maxDepth)
				return nil, faults
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			case root != nil:
				fault(line, "second root element <%s>: want one <policies>", e.name)
				return nil, faults
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			e := open[len(open)-1]
			e.text, e.pieces = strings.Join(e.pieces, ""), nil
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].pieces = append(open[len(open)-1].pieces, string(t))
			} else if strings.TrimSpace(string(t)) != "" {
				fault(line, "text outside <policies>")
			}
		case xml.Directive:
			fault(line, "document type declarations are not allowed in a policy")
		case xml.ProcInst:
			if t.Target != "xml" {
				fault(line, "processing instruction <?%s?> is not allowed in a policy", t.Target)
			}
		}
	}
	if root == nil && len(faults) == 0 {
		fault(1, "policy is empty: want <policies>")
	}
	return root, faults
}

// syntaxFault returns the line and the text of encoding/xml's error.
func syntaxFault(line int, err error) (int, string, string) {
	text := err.Error()
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		line, text = syntax.Line, syntax.Msg
	}
	return line, "not well-formed XML: %s", text
}

// attributeLines returns the line of each attribute of a start tag, in order. encoding/xml knows positions of tokens only, and policies are
// commonly written one attribute a line.
func attributeLines(tag []byte, line int) []int {
	var lines []int
	var quote byte
	for _, c := range tag {
		switch {
		case c == '\n':
			line++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '=':
			lines = append(lines, line)
		}
	}
	return lines
}
