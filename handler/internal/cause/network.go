package cause

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
)

// ProxyRefused is the error of a proxy that answers CONNECT with another status than 200. Whoever
// makes a transport returns it from OnProxyConnectResponse: net/http itself keeps the status's
// words alone.
type ProxyRefused struct{ Status int }

func (e *ProxyRefused) Error() string {
	return fmt.Sprintf("opening a tunnel through the proxy: want 200, got %d", e.Status)
}

// TLS alerts by their number (RFC 8446 section 6, RFC 5246 section 7.2).
var (
	// wantsCertificate: no_certificate of SSL 3, bad_certificate, unsupported, revoked, expired and
	// unknown certificate, unknown_ca and access_denied for a certificate of ours, certificate_required,
	// and no_renegotiation, which we send where the peer asks for a certificate after the request.
	wantsCertificate = []tls.AlertError{41, 42, 43, 44, 45, 46, 48, 49, 116, 100}
	// nothingInCommon: handshake_failure, protocol_version, insufficient_security,
	// inappropriate_fallback.
	nothingInCommon = []tls.AlertError{40, 70, 71, 86}
)

// OfNetwork names what kept an answer of the gateway, or of whoever else was called, from coming.
// It goes by the types of the errors in err's chain; what it does not know is GatewaySilent.
func OfNetwork(err error) Code {
	if _, ok := errors.AsType[*ProxyRefused](err); ok {
		return ProxyRefuses
	}
	op, isOp := errors.AsType[*net.OpError](err)
	ended, alerted := alert(err)
	if isOp && op.Op == "proxyconnect" { // net/http, Transport.dialConn
		return ProxyDown
	}
	switch {
	case is[x509.HostnameError](err):
		return GatewayCertificateName
	case is[*tls.CertificateVerificationError](err), is[x509.UnknownAuthorityError](err),
		is[x509.CertificateInvalidError](err), is[x509.SystemRootsError](err):
		return GatewayCertificate
	case alerted && slices.Contains(wantsCertificate, ended):
		return GatewayClientCertificate
	case alerted && slices.Contains(nothingInCommon, ended), is[tls.RecordHeaderError](err):
		return GatewayTLS
	case is[*net.DNSError](err):
		return GatewayName
	case isOp && op.Op == "dial":
		return GatewayConnection
	}
	return GatewaySilent
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// alert returns the TLS alert that ended a connection, sent by either side. The type that crypto/tls
// puts into an error is not exported, but writes itself as the exported one does.
func alert(err error) (tls.AlertError, bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		op, ok := err.(*net.OpError)
		if !ok || op.Err == nil || op.Op != "remote error" && op.Op != "local error" {
			continue
		}
		for number := range 256 {
			if a := tls.AlertError(number); a.Error() == op.Err.Error() {
				return a, true
			}
		}
	}
	return 0, false
}
