package relay

import (
	"fmt"

	"apimrelay/handler/internal/cause"
)

// A GatewayError says that no answer of the gateway came that can be passed on: no connection, a
// broken one, or something that is not HTTP. Its text quotes nothing that a peer sent. Unwrap gives
// the cause, whose text may.
type GatewayError struct {
	Host string
	Err  error
}

func (e *GatewayError) Error() string {
	return "calling the gateway: " + e.Host + ": " + cause.Reason(e.Err)
}

func (e *GatewayError) Unwrap() error { return e.Err }

// statusError says that an answer has a status that the host would not pass on.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("want a status from 200 to 599, got %d", e.status)
}

// Answered reports whether the gateway answered, with something that cannot be passed on.
func (e *GatewayError) Answered() bool {
	_, answered := e.Err.(*statusError)
	return answered
}

// An UploadError says that the caller's own upload broke off.
type UploadError struct{ Err error }

func (e *UploadError) Error() string { return "reading the request's body: " + cause.Reason(e.Err) }

func (e *UploadError) Unwrap() error { return e.Err }
