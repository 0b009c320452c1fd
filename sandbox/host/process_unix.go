//go:build unix

package host

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// processGroup is a handler's process with all that it starts.
type processGroup struct{ id int }

// startGroup starts cmd in a process group of its own, so that a Ctrl-C meant for the host does not
// reach it.
func startGroup(cmd *exec.Cmd) (*processGroup, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &processGroup{cmd.Process.Pid}, nil
}

// end kills what is left of the group.
func (g *processGroup) end() { _ = syscall.Kill(-g.id, syscall.SIGKILL) }

// executable is the file that a path names: on this system itself.
func executable(path string) string { return path }

// exitCode is the code that a shell would show.
func exitCode(state *os.ProcessState) int {
	if s := state.Sys().(syscall.WaitStatus); s.Signaled() {
		return 128 + int(s.Signal())
	}
	return state.ExitCode()
}

// pending reports whether a pipe holds bytes that nobody has read.
func pending(f *os.File) bool {
	if f == nil {
		return false
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	ready := false
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		ready = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return ready
}

// lockFile takes the lock of an open file, which ends with it; it reports whether nobody else has
// it.
func lockFile(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
