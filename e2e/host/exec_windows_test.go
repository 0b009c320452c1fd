package host_test

import "os/exec"

// execOver runs a program and ends as it does.
func execOver(cmd *exec.Cmd) error { return cmd.Run() }
