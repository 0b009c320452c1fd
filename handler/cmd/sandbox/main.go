// Command sandbox plays what the relay meets in Azure on this machine: the Functions host, the identity endpoint with its issuer, API
// Management with the deployed policy, and a backend. It is never deployed.
//
// Without arguments it runs everything on build/app; "sandbox help" lists the rest.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"apimrelay/handler/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := sandbox.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
