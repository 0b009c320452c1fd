package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// pool holds the idle connections to one gateway. The one used last is taken first, so that those which a smaller load does not need grow old.
type pool struct {
	base *http.Transport
	addr string      // host and port
	tls  *tls.Config // nil = plain HTTP
	open atomic.Bool // the gateway is known to speak HTTP/1.1, and no proxy stands before it

	mu       sync.Mutex
	idle     []*conn // by the time of their last use
	sweeping bool
}

// newPool makes a gateway's. secure is base's own TLSClientConfig, to which net/http adds when it is first used.
func newPool(base *http.Transport, secure *tls.Config, u *url.URL) *pool {
	p := &pool{base: base}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	p.addr = net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "https" {
		p.tls = secure.Clone() // nil stays nil
		if p.tls == nil {
			p.tls = new(tls.Config)
		}
		if p.tls.ServerName == "" {
			p.tls.ServerName = u.Hostname()
		}
		p.tls.NextProtos = []string{"http/1.1"} // what the gateway chose when it had the choice
	}
	return p
}

// take returns a connection for one exchange: an idle one, or a new one.
func (p *pool) take(ctx context.Context) (*conn, error) {
	for {
		c := p.pop()
		if c == nil {
			return p.dial(ctx)
		}
		if !c.stale(time.Now(), p.base.IdleConnTimeout) && !c.spoken() {
			c.used = true
			return c, nil
		}
		c.close()
	}
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	dial := p.base.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	network, err := dial(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{pool: p, Conn: network, wire: &socket{Conn: network, look: lookerOf(network)}}
	if p.tls == nil {
		return c, nil
	}
	if limit := p.base.TLSHandshakeTimeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errNoHandshake)
		defer cancel()
	}
	secure := tls.Client(c.wire, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = network.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else {
			p.open.Store(false) // it may speak something else by now: net/http finds out
		}
		return nil, err
	}
	state := secure.ConnectionState()
	c.Conn, c.state = secure, &state
	return c, nil
}

var errNoHandshake = errors.New("connecting: no TLS handshake in time")

// put takes a connection back whose answer has been read to its end.
func (p *pool) put(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := p.base.MaxIdleConnsPerHost
	if keep == 0 {
		keep = http.DefaultMaxIdleConnsPerHost
	}
	if len(p.idle) >= keep {
		c.close()
		return
	}
	p.idle = append(p.idle, c)
	if limit := p.base.IdleConnTimeout; limit > 0 && !p.sweeping {
		p.sweeping = true
		time.AfterFunc(limit, p.sweep)
	}
}

// sweep closes what has been idle for too long, and comes again while something is idle.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit, now := p.base.IdleConnTimeout, time.Now()
	old := 0
	for old < len(p.idle) && p.idle[old].stale(now, limit) {
		p.idle[old].close()
		old++
	}
	p.idle = append(p.idle[:0], p.idle[old:]...)
	clear(p.idle[len(p.idle):cap(p.idle)])
	if p.sweeping = len(p.idle) > 0; p.sweeping {
		time.AfterFunc(max(limit-p.idle[0].idle(now), time.Millisecond), p.sweep)
	}
}
