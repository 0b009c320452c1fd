//go:build unix

package host_test

import (
	"os/exec"
	"syscall"
)

// execOver puts a program in the place of this one, so that a signal reaches it.
func execOver(cmd *exec.Cmd) error { return syscall.Exec(cmd.Path, cmd.Args, cmd.Env) }
