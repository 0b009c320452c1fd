//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	gatewayKey = "0123456789abcdef0123456789abcdef"
	apiHeader  = "Api-Version: v1"
)

// gateway answers GET and POST /<size> with a text of that size, and refuses whatever lacks the token and the key or brings another body than it should.
type gateway struct {
	plain, tls net.Listener
	bodies     map[string]text          // by path, both ways
	delays     map[string]time.Duration // by path: how long an answer takes
	credential [][]byte                 // header lines that a request must have
	refused    atomic.Int64
	accepted   atomic.Int64 // connections
	certFile   string
	date       string // of all answers, so that they are the same
}

func startGateway(dir, token string, bodies map[string]text) (*gateway, error) {
	g := &gateway{bodies: bodies, delays: delays, date: time.Now().UTC().Format(http.TimeFormat), credential: [][]byte{[]byte("Authorization: Bearer " + token), []byte("Ocp-Apim-Subscription-Key: " + gatewayKey)}}
	cert, file, err := certificate(dir)
	if err != nil {
		return nil, err
	}
	g.certFile = file
	if g.plain, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	inner, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.tls = tls.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}})
	go g.accept(g.plain)
	go g.accept(g.tls)
	return g, nil
}

func (g *gateway) url(secure bool) string {
	if secure {
		return "https://" + g.tls.Addr().String()
	}
	return "http://" + g.plain.Addr().String()
}

func (g *gateway) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		g.accepted.Add(1)
		go g.serve(newWire(c))
	}
}

func (g *gateway) serve(w *wire) {
	defer w.Close()
	for {
		h, err := w.readHead(g.credential...)
		if err != nil {
			return
		}
		parts := bytes.SplitN(h.first, []byte(" "), 3)
		if len(parts) != 3 {
			return
		}
		path := slices.Clone(parts[1])
		body, known := g.bodies[string(path)]
		wrong := !known || !h.matched
		if _, err := w.readBody(h, func(b []byte, at int64) bool { wrong = wrong || !body.check(b, at); return true }); err != nil {
			return
		}
		status := "200 OK"
		if wrong {
			g.refused.Add(1)
			status, body = "418 Other", text{}
		}
		if d := g.delays[string(path)]; d > 0 {
			time.Sleep(d)
		}
		answer := fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nDate: %s\r\n"+
			"Cache-Control: no-cache\r\nRequest-Context: appId=cid-v1:00000000-0000-0000-0000-000000000000\r\nStrict-Transport-Security: max-age=31536000\r\n\r\n",
			status, body.size, g.date)
		if body.size <= 64<<10 {
			answer = append(answer, body.block[:body.size]...)
			body.size = 0
		}
		if _, err := w.Write(answer); err != nil {
			return
		}
		if err := body.write(w); err != nil {
			return
		}
	}
}

// certificate makes one for 127.0.0.1 and a file to trust it by.
func certificate(dir string) (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	file := filepath.Join(dir, "ca.pem")
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file, err
}

// startIdentity is an identity endpoint that always has the same token, and counts.
func startIdentity(token string) (url string, asked *atomic.Int64, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	asked = new(atomic.Int64)
	end := time.Now().Add(24 * time.Hour)
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			send(w, token, time.Until(end), 0)
		}))
	}()
	return "http://" + l.Addr().String() + "/msi/token", asked, nil
}

// jsonText is a JSON object of exactly that size, with one list in it; quotes and a few letters outside ASCII included: what an envelope has to escape.
func jsonText(size int) []byte {
	const head, item, note, tail = `{"orders":[`, `{"id":10482,"name":"Zoë Müller","ok":true,"lines":[{"sku":"A-1","n":2}]},`, `{"note":"`, `"}]}`
	var b strings.Builder
	b.WriteString(head)
	for b.Len()+len(item)+len(note)+len(tail) < size {
		b.WriteString(item)
	}
	b.WriteString(note)
	b.WriteString(strings.Repeat("x", size-b.Len()-len(tail)))
	b.WriteString(tail)
	return []byte(b.String())
}
