//go:build linux

// Bench shows what the handler does beside what a user would write instead, in one run and against the same stand-ins. It is never deployed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
)

const usage = `usage: bench <what>

  relay   the handler beside what a user would write instead; -full takes minutes,
          -before FOLDER adds the handler of another checkout
  token   bare azidentity beside the token source, situation by situation
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "relay":
		return benchRelay(ctx, args[1:], stdout, stderr)
	case "token":
		return benchToken(ctx, args[1:], stdout, stderr)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "bench: unknown %q\n%s", args[0], usage)
	return 2
}
