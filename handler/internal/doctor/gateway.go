package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"apimrelay/handler/internal/cause"
)

// host is the address of the gateway; known is false where nothing is to be asked.
func (v *visit) host() (name, port string, known outcome) {
	switch {
	case v.o.Offline:
		return "", "", notRun("-offline")
	case v.f.Target == nil:
		return "", "", notRun("ApimUrl is at fault: see the settings")
	}
	name, port, err := net.SplitHostPort(v.f.Target.Host())
	if err != nil {
		name, port = strings.Trim(v.f.Target.Host(), "[]"), "443"
		if v.f.Target.Scheme() == "http" {
			port = "80"
		}
	}
	return name, port, outcome{}
}

func checkName(ctx context.Context, v *visit) []outcome {
	name, _, out := v.host()
	if out.status != "" {
		return one(out)
	}
	if p := v.proxy(); p.address != nil {
		return one(ok("the proxy %s resolves it", p.address.Host))
	}
	if net.ParseIP(name) != nil {
		return one(ok("%s is an address", name))
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.times.name)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return one(find(cause.GatewayName, name+": "+plainDNS(err), v.fill()))
	}
	if len(addresses) > 3 {
		addresses = append(addresses[:3], "…")
	}
	return one(ok("%s is %s", name, strings.Join(addresses, ", ")))
}

func plainDNS(err error) string {
	if d, ok := err.(*net.DNSError); ok {
		if d.IsTimeout {
			return "no answer in time"
		}
		return d.Err
	}
	return plainError(err)
}

func checkConnection(ctx context.Context, v *visit) []outcome {
	name, port, out := v.host()
	if out.status != "" {
		return one(out)
	}
	if p := v.proxy(); p.address != nil {
		// Whether a certificate is trusted shows in the next check alone.
		return one(ok("the proxy %s of %s opens the connection", p.address.Host, p.variable).titled("calls go through a proxy"))
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.times.connect)
	defer cancel()
	address := net.JoinHostPort(name, port)
	if v.f.Target.Scheme() == "http" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return one(find(cause.GatewayConnection, address+": "+plainError(err), v.fill()))
		}
		_ = conn.Close()
		return one(ok("%s, without TLS", address))
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return one(find(cause.GatewayConnection, address+": "+plainError(err), v.fill()))
	}
	defer raw.Close()
	config := v.f.Trust.Config()
	if t, ok := v.o.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	config.ServerName = name
	asked := false // for a client certificate
	show := config.GetClientCertificate
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if show != nil {
			return show(info)
		}
		for i := range config.Certificates {
			if info.SupportsCertificate(&config.Certificates[i]) == nil {
				return &config.Certificates[i], nil
			}
		}
		return new(tls.Certificate), nil
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return one(find(handshakeCause(ctx, err, asked), address+": "+plainError(err), v.fill()))
	}
	state := conn.ConnectionState()
	saw := tls.VersionName(state.Version)
	if len(state.PeerCertificates) > 0 {
		saw += ", certificate until " + stamp(state.PeerCertificates[0].NotAfter)
	}
	return one(ok("%s, %s", address, saw))
}

// handshakeCause names why a handshake failed. asked says that the gateway had asked for a client
// certificate, which is then what it misses: some say no more than that the handshake failed.
func handshakeCause(ctx context.Context, err error, asked bool) cause.Code {
	code := cause.OfNetwork(err)
	switch {
	case ctx.Err() != nil:
		return cause.GatewaySilent
	case asked && code != cause.GatewayCertificate && code != cause.GatewayCertificateName:
		return cause.GatewayClientCertificate
	case code == cause.GatewaySilent && errors.Is(err, io.EOF):
		return cause.GatewayConnection
	case code == cause.GatewaySilent:
		return cause.GatewayTLS
	}
	return code
}

// checkGateway is the first probe: no key, no token.
func checkGateway(ctx context.Context, v *visit) []outcome {
	if _, _, out := v.host(); out.status != "" {
		return one(out)
	}
	a := v.probe(ctx, "", "")
	v.out = &a
	what := v.route.method + " " + v.f.Target.Redacted() + " without key and token: " + a.saw()
	if o, found := v.trouble(a); found {
		o.saw = what
		return one(o)
	}
	switch a.kind {
	case reached, foreign404:
		return one(warn(cause.APIOpen, what, v.fill()))
	case foreign:
		return one(ok("%s; the answer is not the gateway's", what)) // so neither key nor token is asked for before the backend
	}
	return one(ok("%s", what))
}

// checkClock compares the answer's Date with our clock: a policy's clock-skew is 0 unless set.
func checkClock(_ context.Context, v *visit) []outcome {
	a := output[*answer](v, "gateway")
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return one(notRun("the answer has no Date"))
	}
	// Date counts whole seconds, and the answer took a while.
	ahead := date.Sub(a.sent)
	if ahead.Abs() > skew {
		word := "ahead of"
		if ahead < 0 {
			word = "behind"
		}
		return one(warn(cause.TokenTime, fmt.Sprintf("the gateway's clock is %s %s ours", short(ahead.Abs()), word), v.fill()))
	}
	return one(ok("within %s", (ahead.Abs() + time.Second).Truncate(time.Second)))
}

// checkOperation: the gateway looks for the operation before it looks at key and token, so the
// first probe tells.
func checkOperation(_ context.Context, v *visit) []outcome {
	a := output[*answer](v, "gateway")
	what := v.route.method + " " + v.f.Target.Redacted()
	switch {
	case a.kind != noOperation:
		return one(ok("%s", what))
	case v.route.spared:
		o := notRun("a GET finds no operation, and this function sends another method, which doctor does not send unasked")
		o.fix = "handler doctor -call"
		return one(o)
	case v.route.guessed:
		o := warn(cause.OperationUnknown, what+": "+a.saw()+"; the path holds invented values or none, so there need not be an operation", v.fill())
		o.status = NotRun
		o.fix = "name values of a call that exists, for instance: handler doctor -value " + v.guess() + "; if that finds none either, correct ApimUrl"
		return one(o)
	}
	return one(find(cause.OperationUnknown, what+": "+a.saw(), v.fill()))
}

// guess is an example of -value.
func (v *visit) guess() string {
	if name := v.route.values.CatchAll; name != "" {
		return name + "=orders/17"
	}
	for _, name := range v.f.Target.Names() {
		return strings.ToLower(name) + "=17"
	}
	return "name=value"
}

// unclearCall is refusedCall for an answer that may be the backend's. Only what the other checks
// found against the token speaks for the gateway.
func (v *visit) unclearCall(a answer, saw string) outcome {
	for _, id := range []string{"token-time", "token-tenant", "token-audience", "token-role", "policy"} {
		if _, found := v.found(id); found {
			return v.refusedCall(a, saw)
		}
	}
	return find(cause.RefusalUnclear, saw, v.fill())
}

// refusedCall finds the cause of a refused token in what is known: the claims, the policy, the
// gateway's own words, the clocks. What is left is one finding for all causes that the answer
// does not tell apart.
func (v *visit) refusedCall(a answer, saw string) outcome {
	for _, id := range []string{"token-time", "token-tenant", "token-audience", "token-role", "policy"} {
		if r, found := v.found(id); found {
			o := find(r.Anchor, saw+"; see: "+r.Title, v.fill())
			o.fix = r.Fix
			return o
		}
	}
	h := output[*held](v, "token")
	if anchor := messageAnchor(a.message, h.facts); anchor != "" {
		fill := v.fill()
		if h.facts.ObjectID != "" {
			fill["object"] = h.facts.ObjectID
		}
		return find(anchor, saw, fill)
	}
	for _, r := range v.waits["clock"].results {
		if r.Status == Warning {
			return find(cause.TokenTime, saw+"; "+r.Saw, v.fill())
		}
	}
	if v.passes("policy") {
		return find(cause.TokenSignature, saw+"; every rule of the policy that can be checked offline passes", v.fill())
	}
	if h.readable {
		saw += "; the token: " + described(h.facts)
	}
	return find(cause.TokenRefused, saw, v.fill())
}
