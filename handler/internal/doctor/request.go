package doctor

import (
	"context"
	"io"
)

// WriteRequest prints the page that the team owning the API needs from the team owning the functions.
func WriteRequest(ctx context.Context, w io.Writer, o Options) error {
	_, err := io.WriteString(w, "")
	return err
}
