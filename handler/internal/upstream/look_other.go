//go:build !unix || aix

package upstream

import "net"

// canLook tells whether an idle connection can be looked at without reading from it. Where it cannot, net/http has all connections: its reading
// goroutines notice what the gateway has closed.
const canLook = false

type looker struct{}

func lookerOf(net.Conn) *looker { return nil }

func (*looker) look() bool { return false }
