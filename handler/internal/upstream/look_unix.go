//go:build unix && !aix

package upstream

import (
	"net"
	"syscall"
)

// canLook tells whether an idle connection can be looked at without reading from it.
const canLook = true

// looker looks at a connection's socket. A nil *looker knows nothing.
type looker struct {
	raw   syscall.RawConn
	peek  func(fd uintptr) bool // kept, or each look would make it anew
	ready bool
}

func lookerOf(c net.Conn) *looker {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	l := &looker{raw: raw}
	l.peek = func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		l.ready = err != syscall.EAGAIN && err != syscall.EWOULDBLOCK
		return true // never wait
	}
	return l
}

// look tells whether a read would return at once: there are bytes, an end, or an error.
func (l *looker) look() bool {
	return l != nil && (l.raw.Read(l.peek) != nil || l.ready)
}
