package host

import "fmt"

// exception is a .NET exception as the host's log and a RetryContext show it: class, message, what
// caused it. There are no stack frames: they name the host's own methods, which do not exist here.
type exception struct {
	class, message string
	inner          *exception
	status         int // of an HttpRequestException for a status that is no success
}

func (e *exception) Error() string { return e.message }

const (
	httpRequestException = "System.Net.Http.HttpRequestException"
	invalidOperation     = "System.InvalidOperationException"
)

func newException(class, format string, args ...any) *exception {
	return &exception{class: class, message: fmt.Sprintf(format, args...)}
}

func (e *exception) because(inner *exception) *exception {
	e.inner = inner
	return e
}

// asException gives any error the shape of one.
func asException(err error) *exception {
	if e, ok := err.(*exception); ok {
		return e
	}
	return newException("System.Exception", "%s", err)
}

// chain is Exception.ToString without frames: each inner exception on a line of its own behind an
// arrow.
func (e *exception) chain() string {
	out := e.class + ": " + e.message
	for in := e.inner; in != nil; in = in.inner {
		if in.class == "" {
			continue
		}
		out += "\n ---> " + in.class + ": " + in.message
	}
	return out
}

// hostError is an error with the host's own text, capitals and full stops included.
type hostError string

func (e hostError) Error() string { return string(e) }

func hostErrorf(format string, args ...any) error { return hostError(fmt.Sprintf(format, args...)) }
