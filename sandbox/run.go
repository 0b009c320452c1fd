package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"

	"apimrelay/sandbox/console"
)

const usage = `usage: sandbox [flags]              everything, on the app of the working directory: first calls shown, then up until Ctrl-C
       sandbox -once [flags]        the first calls alone; the exit status tells whether all went as they should
       sandbox console [flags]      everything, without the first calls
       sandbox host [flags]         the Functions host alone, on any script root
       sandbox identity [flags]     identity endpoint, issuer and az alone
       sandbox gateway [flags]      API Management alone, on any policy
       sandbox az URL [arguments]   the Azure CLI, answered by the identity stand-in at URL; azd likewise

flags of "sandbox" (the others have their own: sandbox host -h):
`

// options are the flags of "sandbox" without a subcommand.
type options struct {
	root, policy, writePolicy string
	addr, consoleAddr         string
	identity, gateway         string // sandbox, or az and real
	settings, metadata        string
	tenant, call              string
	once, quiet               bool
}

// run is the program "sandbox". environ is the environment that the host, and with it the handler, inherits. It returns the exit status:
// 0, 1 when something could not start or did not go as it should, 2 for wrong arguments.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "host":
			return host.Run(ctx, args[1:], stdout, stderr)
		case "identity":
			return identity.Run(ctx, args[1:], stdout, stderr)
		case "gateway":
			return gateway.RunManaged(ctx, args[1:], stdout, stderr, console.ManageGateway)
		case "az", "azd":
			if len(args) < 2 {
				fmt.Fprintf(stderr, "sandbox %s: want the address of the identity stand-in\n", args[0])
				return 2
			}
			return identity.RunCLI(ctx, args[1], args[0], args[2:], stdout, stderr)
		case "console":
			return runAll(ctx, args[1:], environ, stdout, stderr, true)
		case "help":
			args = []string{"-h"}
		}
	}
	return runAll(ctx, args, environ, stdout, stderr, false)
}

func runAll(ctx context.Context, args, environ []string, stdout, stderr io.Writer, quiet bool) int {
	o, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	o.quiet = quiet
	if o.root == "" {
		if o.root, err = stageApp(ctx, stderr); err != nil {
			fmt.Fprintf(stderr, "sandbox: %v\n", err)
			return 1
		}
	}
	s, err := start(o, environ, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "sandbox: %v\n", err)
		return 1
	}
	defer s.close()
	return s.run(ctx, stdout, stderr)
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, usage); f.PrintDefaults() }
	f.StringVar(&o.root, "root", "", "script `folder` with host.json, the functions and the handler; when empty, build/app, staged from the working directory")
	f.StringVar(&o.policy, "policy", "deploy/policies/api.xml", "policy `file` of the API")
	f.StringVar(&o.writePolicy, "write-policy", "deploy/policies/operation-write.xml", "policy `file` of the operations that change something; \"\" for none")
	f.StringVar(&o.addr, "addr", "", "`host:port` of the Functions host; 127.0.0.1:7071, or a free port where that is taken, when empty")
	f.StringVar(&o.consoleAddr, "console-addr", "", "`host:port` of the console; 127.0.0.1:7070, or a free port, when empty")
	f.StringVar(&o.identity, "identity", "sandbox", "who hands out tokens: sandbox, or az for the real Azure CLI")
	f.StringVar(&o.gateway, "gateway", "sandbox", "who takes the calls: sandbox, or real for API Management")
	f.StringVar(&o.settings, "settings", "local.settings.json", "`file` with app settings; the environment wins, and the stand-ins' own replace what would lead past them")
	f.StringVar(&o.tenant, "tenant", "", "`file` of JSON with identities and resources to add to the stand-in's tenant")
	f.StringVar(&o.call, "call", "", "`path` and query behind ApimUrl for the first call; ApimUrl itself when empty and -gateway is real")
	f.StringVar(&o.metadata, "openid-config-url", "", "`URL` of the issuer's metadata for the gateway's policy with -identity az; the v2.0 document of TargetTenantID when empty")
	f.BoolVar(&o.once, "once", false, "show the first calls and end; the exit status tells")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	err := error(nil)
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unknown argument %q: \"sandbox help\" lists what there is", f.Arg(0))
	case o.identity != "sandbox" && o.identity != "az":
		err = fmt.Errorf("-identity is %q: want sandbox or az", o.identity)
	case o.gateway != "sandbox" && o.gateway != "real":
		err = fmt.Errorf("-gateway is %q: want sandbox or real", o.gateway)
	case o.identity == "sandbox" && o.gateway == "real":
		err = errors.New("-gateway real needs -identity az: a real gateway does not trust the sandbox's tokens")
	}
	if err != nil {
		fmt.Fprintln(stderr, "sandbox:", err)
	}
	return o, err
}
