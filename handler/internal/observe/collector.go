package observe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"apimrelay/handler/internal/header"
)

// collector is where one signal goes. The exporters read the same variables; what is read here is
// what they would do wrong in silence, and what the HTTP client needs that keeps a collector's
// words out of our log.
type collector struct {
	client *http.Client
	url    string // as the exporter writes it in errors
	host   string
}

// variables are the environment. A variable that is empty or blank is not set.
type variables func(name string) (string, bool)

func (v variables) get(name string) string {
	value, _ := v(name)
	return strings.TrimSpace(value)
}

// otlp finds a variable of the exporters
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/): the one for the signal, else the
// one for all.
func (v variables) otlp(signal, name string) (variable, value string) {
	variable = "OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal) + "_" + name
	if value = v.get(variable); value == "" {
		variable = "OTEL_EXPORTER_OTLP_" + name
		value = v.get(variable)
	}
	return variable, value
}

// collector returns where a signal goes, nil where it is not to be exported. An error names the
// variable that is wrong, and no value that may be a secret.
func (v variables) collector(signal string) (*collector, error) {
	switch name := "OTEL_" + strings.ToUpper(signal) + "_EXPORTER"; v.get(name) {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s: want otlp or none, got %q", name, v.get(name))
	}
	variable, endpoint := v.otlp(signal, "ENDPOINT")
	if endpoint == "" {
		return nil, nil
	}
	to, err := url.Parse(endpoint)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, fmt.Errorf("%s: want a URL with http or https, got something else", variable)
	}
	if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		to = to.JoinPath("v1", signal) // that for one signal is taken as it is
	}
	variable, value := v.otlp(signal, "PROTOCOL")
	switch value {
	case "", "http/protobuf", "http/json":
	case "grpc":
		return nil, fmt.Errorf("%s: want http/protobuf, got grpc, which is not built in: "+
			"set http/protobuf and the collector's port for HTTP, mostly 4318", variable)
	default:
		return nil, fmt.Errorf("%s: want http/protobuf, got %q", variable, value)
	}
	variable, value = v.otlp(signal, "COMPRESSION")
	if value != "" && value != "none" && value != "gzip" {
		return nil, fmt.Errorf("%s: want gzip or none, got %q", variable, value)
	}
	timeout := 10 * time.Second
	if variable, value = v.otlp(signal, "TIMEOUT"); value != "" {
		ms, err := strconv.Atoi(value)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s: want milliseconds above 0, got %q", variable, value)
		}
		timeout = time.Duration(ms) * time.Millisecond
	}
	if err := v.headers(signal); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = v.tls(signal); err != nil {
		return nil, err
	}
	return &collector{
		client: &http.Client{
			Transport: silent{transport}, Timeout: timeout,
			// The next collector would get the headers that are meant for this one.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		url:  (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String(),
		host: to.Host,
	}, nil
}

// headers checks the pairs. The exporter leaves out those that make no sense, and the collector
// would refuse what comes without its key; others net/http would not send.
func (v variables) headers(signal string) error {
	variable, list := v.otlp(signal, "HEADERS")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || err != nil || !header.Token(name) || !header.Printable(value) {
			return fmt.Errorf("%s: want name=value pairs separated by commas, values "+
				"percent-encoded, got something else", variable)
		}
	}
	return nil
}

func (v variables) tls(signal string) (*tls.Config, error) {
	config := new(tls.Config)
	if variable, file := v.otlp(signal, "CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: want certificates in PEM form, got none in %s", variable,
				file)
		}
	}
	variable, certificate := v.otlp(signal, "CLIENT_CERTIFICATE")
	_, key := v.otlp(signal, "CLIENT_KEY")
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// silent sends requests to a collector and keeps what it says away from the exporter, which puts it
// into errors: a collector may repeat the request, with its key. What is left is the status and how
// much was rejected.
type silent struct{ base http.RoundTripper }

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.base.RoundTrip(r)
	if err != nil {
		return nil, plain(err)
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	_ = res.Body.Close()
	text := r.URL.Host + " answered " + strconv.Itoa(res.StatusCode)
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		text = rejected(said)
		res.Header.Set("Content-Type", "application/x-protobuf")
	}
	res.Status = strconv.Itoa(res.StatusCode) + " " + http.StatusText(res.StatusCode)
	res.Body, res.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return res, nil
}

// rejected is the answer of a collector that took some and not all, without its message; "" where
// it took all. The answers for spans and for metrics have the same fields
// (https://opentelemetry.io/docs/specs/otlp/#partial-success-1).
func rejected(said []byte) string {
	var answer collectortrace.ExportTraceServiceResponse
	if proto.Unmarshal(said, &answer) != nil || answer.PartialSuccess.GetRejectedSpans() == 0 {
		return ""
	}
	without, err := proto.Marshal(&collectortrace.ExportTraceServiceResponse{
		PartialSuccess: &collectortrace.ExportTracePartialSuccess{
			RejectedSpans: answer.PartialSuccess.RejectedSpans,
		},
	})
	if err != nil {
		return ""
	}
	return string(without)
}

// plain keeps an error that tells what went wrong on the way. Any other may quote what the peer
// sent in place of an answer.
func plain(err error) error {
	var network net.Error
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &network) || errors.As(err, &untrusted) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errors.New("the collector gave no HTTP answer that can be read: " +
		"mostly it takes OTLP over HTTP at port 4318")
}
