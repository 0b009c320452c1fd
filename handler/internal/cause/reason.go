package cause

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Reason is the text of a network error, on one line, without anything that the peer sent. The errors
// of net/http quote a malformed status line, header, length or transfer coding, the words of a proxy
// that refuses, and what a GOAWAY frame says. A peer that has seen a token could send it back there.
//
// The text of an error is taken as it is where its type says that it holds nothing of the peer's. Of
// any other text what stands in quotes, and all behind it, is left out. nil is "".
func Reason(err error) string {
	if err == nil {
		return ""
	}
	if u, ok := errors.AsType[*url.Error](err); ok { // its URL may hold a secret in its query
		err = u.Err
	}
	if o, ok := errors.AsType[*net.OpError](err); ok && o.Op == "proxyconnect" {
		return "connecting to the proxy: " + Reason(o.Err)
	}
	if p, ok := errors.AsType[*ProxyRefused](err); ok {
		return p.Error()
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return "a malformed header line"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection ended before the end of the answer"
	}
	if ended, ok := alert(err); ok {
		return ended.Error()
	}
	if safe(err) {
		return oneLine(err.Error())
	}
	text := oneLine(err.Error())
	if !slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(text, b) }) {
		return "an error whose text is a peer's"
	}
	if i := strings.IndexAny(text, "\"[`"); i >= 0 {
		text = strings.TrimRight(text[:i], " =:,")
		text = strings.TrimSuffix(text, ", debug")
	}
	return text
}

// safe reports whether the innermost error is of a type whose text holds nothing that a peer sent.
func safe(err error) bool {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded,
		net.ErrClosed, http.ErrHandlerTimeout,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var (
		number    syscall.Errno
		name      *net.DNSError
		record    tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &number) || errors.As(err, &name) ||
		errors.As(err, &record) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

// beginnings are those of the texts that net/http, crypto/tls and this program make themselves.
var beginnings = []string{
	"net/http: ", "http: ", "http2: ", "tls: ", "x509: ", "stream error: ", "malformed ", "bad ", "unsupported ",
	"invalid ", "too many ", "unexpected ", "relaying: ", "want ", "socks connect",
}

// OnProxyConnect is for http.Transport's OnProxyConnectResponse.
func OnProxyConnect(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &ProxyRefused{res.StatusCode}
	}
	return nil
}

func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return slices.Contains([]rune{'\n', '\r', '\t'}, r) || r < ' ' || r == 0x7f
	}), " ")
}
