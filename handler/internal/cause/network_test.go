package cause

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
)

// The network's causes go by the types of errors, however deep they stand in the chain.
func TestOfNetwork(t *testing.T) {
	alert := func(op string, n tls.AlertError) error { return &net.OpError{Op: op, Err: n} }
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for want, errs := range map[Code][]error{
		ProxyRefuses: {&ProxyRefused{407}},
		ProxyDown: {&net.OpError{Op: "proxyconnect", Err: dial(syscall.ECONNREFUSED)},
			&net.OpError{Op: "proxyconnect", Err: dial(&net.DNSError{})}},
		GatewayName:            {dial(&net.DNSError{IsNotFound: true}), &net.DNSError{IsTimeout: true}},
		GatewayConnection:      {dial(syscall.ECONNREFUSED), dial(syscall.EHOSTUNREACH)},
		GatewayCertificate:     {verification(x509.UnknownAuthorityError{}), x509.CertificateInvalidError{}},
		GatewayCertificateName: {verification(x509.HostnameError{Certificate: &x509.Certificate{}})},
		// The last is ours, where a peer asks for a certificate after the request.
		GatewayClientCertificate: {alert("remote error", 116), alert("remote error", 42), alert("remote error", 48), alert("local error", 100)},
		GatewayTLS:               {alert("remote error", 40), alert("remote error", 70), tls.RecordHeaderError{}},
		GatewaySilent:            {io.EOF, errors.New("x"), alert("remote error", 80), alert("read", 116), nil},
	} {
		for _, err := range errs {
			if got := OfNetwork(err); got != want {
				t.Errorf("%v: want %s, got %s", err, want, got)
			}
			if err == nil {
				continue
			}
			if got := OfNetwork(fmt.Errorf("calling the gateway: %w", err)); got != want {
				t.Errorf("%v in a chain: want %s, got %s", err, want, got)
			}
		}
	}
}
