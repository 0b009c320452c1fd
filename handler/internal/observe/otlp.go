package observe

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"apimrelay/handler/internal/header"
)

// uploader sends one signal by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp) in its binary form. It sends one message
// at a time: its users see to that.
type uploader struct {
	url     string
	header  http.Header
	timeout time.Duration
	gzip    bool
	client  *http.Client
	zip     *gzip.Writer // memory that is used again, with zipped
	zipped  bytes.Buffer
}

// newUploader reads the variables of a signal, TRACES or METRICS, or those for all signals
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/). Its errors name the variable, and no value that may be a secret.
func newUploader(get func(string) string, signal, path string) (*uploader, error) {
	of := func(name string) (variable, value string) {
		variable = "OTEL_EXPORTER_OTLP_" + signal + "_" + name
		if value = get(variable); value == "" {
			variable = "OTEL_EXPORTER_OTLP_" + name
			value = get(variable)
		}
		return variable, value
	}
	u := &uploader{timeout: 10 * time.Second, header: http.Header{}}
	variable, endpoint := of("ENDPOINT")
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return nil, fmt.Errorf("%s: want a URL with http or https, got something else", variable)
	}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		parsed = parsed.JoinPath(path) // that for one signal is taken as it is
	}
	u.url = parsed.String()
	if variable, value := of("PROTOCOL"); value != "" && value != "http/protobuf" {
		return nil, fmt.Errorf("%s: want http/protobuf, got %q", variable, value)
	}
	if variable, value := of("TIMEOUT"); value != "" {
		ms, err := strconv.Atoi(value)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s: want milliseconds above 0, got %q", variable, value)
		}
		u.timeout = time.Duration(ms) * time.Millisecond
	}
	switch variable, value := of("COMPRESSION"); value {
	case "", "none":
	case "gzip":
		u.gzip = true
	default:
		return nil, fmt.Errorf("%s: want gzip or none, got %q", variable, value)
	}
	variable, headers := of("HEADERS")
	for pair := range strings.SplitSeq(headers, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !header.Printable(value) {
			return nil, fmt.Errorf("%s: want name=value pairs separated by commas, values percent-encoded, got something else", variable)
		}
		u.header.Set(strings.TrimSpace(name), value)
	}
	u.header.Set("Content-Type", "application/x-protobuf")
	u.header.Set("User-Agent", "OTel-OTLP-Exporter-"+scope)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = tlsConfig(of); err != nil {
		return nil, err
	}
	u.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return u, nil
}

func tlsConfig(of func(string) (string, string)) (*tls.Config, error) {
	config := new(tls.Config)
	if variable, file := of("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: want certificates in PEM form, got none in %s", variable, file)
		}
	}
	variable, certificate := of("CLIENT_CERTIFICATE")
	_, key := of("CLIENT_KEY")
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// tries is how often one export is sent at most, where the collector says that it may succeed later.
const tries = 3

// upload sends one message and returns when the collector has taken it. What the collector wants again later, and what did not reach it,
// is sent again within the time-out. Nothing reads the message's memory after the return.
func (u *uploader) upload(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	m := &content{bytes: u.pack(message)}
	defer m.take()
	for try := 1; ; try++ {
		wait, err := u.post(ctx, m)
		if err == nil || wait == 0 || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait * time.Duration(try)):
		}
	}
}

func (u *uploader) pack(message []byte) []byte {
	if !u.gzip {
		return message
	}
	u.zipped.Reset()
	if u.zip == nil {
		u.zip = gzip.NewWriter(&u.zipped)
	} else {
		u.zip.Reset(&u.zipped)
	}
	_, _ = u.zip.Write(message) // to memory
	_ = u.zip.Close()
	return u.zipped.Bytes()
}

// content is a message that may be taken from whoever still reads it. net/http may read a request's body for some time after an early
// answer or the end of the context, and the memory is another message's by then.
type content struct {
	mu    sync.Mutex
	bytes []byte
	taken bool
}

func (c *content) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes, c.taken = nil, true
}

// reader is one request's body.
type reader struct {
	of *content
	at int
}

func (r *reader) Read(p []byte) (int, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.of.taken {
		return 0, errors.New("the message is no longer there")
	}
	n := copy(p, r.of.bytes[r.at:])
	if r.at += n; n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *reader) Close() error { return nil }

// post sends once. A wait above zero says that another try may help, and when.
func (u *uploader) post(ctx context.Context, m *content) (wait time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, &reader{of: m})
	if err != nil {
		return 0, err
	}
	r.ContentLength = int64(len(m.bytes))
	r.GetBody = func() (io.ReadCloser, error) { return &reader{of: m}, nil } // net/http sends again where a kept connection was closed
	r.Header = u.header.Clone()
	if u.gzip {
		r.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := u.client.Do(r)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, which may hold a key
		}
		return 500 * time.Millisecond, fmt.Errorf("sending to %s: %w", r.URL.Host, err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	if answer.StatusCode >= 200 && answer.StatusCode <= 299 {
		return 0, nil
	}
	err = fmt.Errorf("sending to %s: want status 200, got %d", r.URL.Host, answer.StatusCode)
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		wait = 500 * time.Millisecond
		if seconds, convErr := strconv.Atoi(answer.Header.Get("Retry-After")); convErr == nil && seconds > 0 {
			wait = time.Duration(seconds) * time.Second
		}
	}
	return wait, err
}
