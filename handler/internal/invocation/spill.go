package invocation

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
)

// DefaultThreshold is the size of the largest body that stays in memory, in bytes. The way over a file costs a fifth of the processor time that keeping
// and encoding a body takes, whatever its size (BenchmarkBody): the bound is there so that most answers need no disk.
const DefaultThreshold = 1 << 20

// Spill is where bodies go that are too large for the memory: a temporary file for each, in the folder for temporary files ([os.TempDir]: TMPDIR on Unix),
// for the time of its call. The process is shared by all invocations, and its memory with the host; four answers of 10 MiB at once would otherwise be most
// of it.
//
// Only the process's user may read such a file (mode 0600), and where the system allows it (Unix) it has lost its name before the first byte is written: no
// other program can open it by a path, a child does not inherit it, and its blocks are free when the process ends, however it ends; killed between the two,
// it leaves an empty file. Elsewhere it is removed when the call is over. Where no file can be made or written, all stays in memory, and a line of the log says so, once.
//
// The zero value is ready. It is safe for concurrent use and must not be copied.
type Spill struct {
	Threshold int                  // bytes; 0 = DefaultThreshold
	Create    func() (File, error) // nil = a temporary file

	told sync.Once
}

// File is what a body needs of an *os.File.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

func (s *Spill) threshold() int {
	if s.Threshold > 0 {
		return s.Threshold
	}
	return DefaultThreshold
}

func (s *Spill) open() (File, error) {
	if s.Create != nil {
		return s.Create()
	}
	return temporary()
}

// failed says once that files cannot be used. What is wrong with a disk is wrong for each large answer; whether it still is, each finds out for itself.
func (s *Spill) failed(log *slog.Logger, err error) {
	if log == nil {
		return
	}
	s.told.Do(func() { log.Warn("large answers stay in memory", "dir", os.TempDir(), "error", err.Error()) })
}

// temporary makes a file without a name, or one that loses it when it is closed.
func temporary() (File, error) {
	f, err := os.CreateTemp("", "apimrelay-*")
	if err != nil {
		return nil, err
	}
	if os.Remove(f.Name()) != nil { // Windows: not while it is open
		return named{f}, nil
	}
	return f, nil
}

type named struct{ *os.File }

func (n named) Close() error { return errors.Join(n.File.Close(), os.Remove(n.Name())) }
