// Package makes the zip that is deployed: host.json, one folder with function.json for each
// function, and the handler, built for linux/amd64. The same sources give the same bytes on every
// system: entries are sorted, times fixed, modes written for Unix, so that the handler stays
// executable even where the zip was made on Windows.
//
//	go run ./deploy/package -o build/relay.zip
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("package", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("o", "build/relay.zip", "the zip to write")
	root := flags.String("root", "", "folder of host.json and functions/ (default: the module's)")
	handler := flags.String("handler", "", "a handler for linux/amd64 (default: it is built)")
	release := flags.String("version", "", "of the handler (default: the tag, else devel-<commit>)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	module, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if *root == "" {
		*root = module
	}
	if *handler == "" {
		staging, err := os.MkdirTemp("", "apimrelay-package")
		if err != nil {
			return fmt.Errorf("making a folder for the handler: %w", err)
		}
		defer os.RemoveAll(staging)
		*handler = filepath.Join(staging, "handler")
		if *release == "" {
			*release = version(ctx, module)
		}
		if err := build(ctx, module, "./handler", *handler, *release, stderr); err != nil {
			return err
		}
	}
	files, err := collect(*root, *handler)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return fmt.Errorf("making the folder of the package: %w", err)
	}
	sum, size, err := writeFile(*out, files)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d files, %d bytes, sha256 %s\n", *out, len(files), size, sum)
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	file := strings.TrimSpace(string(out))
	if file == "" || file == os.DevNull {
		return "", fmt.Errorf("finding the module: no go.mod here or above")
	}
	return filepath.Dir(file), nil
}

// repository is the address of the repository that a workflow runs for, or "": the doctor points to a
// page there (docs.github.com "Variables reference", default environment variables).
func repository() string {
	server, name := os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY")
	if server == "" || name == "" {
		return ""
	}
	return server + "/" + name
}

// build compiles the program of pkg for the platform of Azure Functions. Everything that could put
// this machine into the binary is off: paths, version control state, the environment's own flags.
// What the program is to say of its version is given to it.
func build(ctx context.Context, module, pkg, out, release string, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -buildid= -X main.release="+release+" -X main.repository="+repository(), "-o", out, pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0",
		"GOFLAGS=", "GOEXPERIMENT=")
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the handler for linux/amd64: %w", err)
	}
	return nil
}
