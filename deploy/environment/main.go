// Environment hands the choices of env/<name>.json to azd, after checking what neither Bicep nor Azure would say before half of the
// resources stand. azd's hooks run it, in the folder of azure.yaml:
//
//	go run ./deploy/environment             the environment that azd has selected (AZURE_ENV_NAME)
//	go run ./deploy/environment -n prod     check only
//	go run ./deploy/environment -preflight  then run scripts/preflight, which asks Azure about the choices
//
// azd takes a parameter that has no default and stands in no parameter file from the environment's own config: `infra.parameters` in
// .azure/<name>/config.json (Azure/azure-dev cli/azd/pkg/infra/provisioning/bicep/bicep_provider.go, ensureParameters).
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// environmentName is what azd takes as a name (environment.go, EnvironmentNameRegexp).
var environmentName = regexp.MustCompile(`^[a-zA-Z0-9\-()_.]{1,64}$`)

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("environment", flag.ContinueOnError)
	flags.SetOutput(stderr)
	checkOnly := flags.Bool("n", false, "check only, write nothing")
	preflight := flags.Bool("preflight", false, "then run scripts/preflight, which asks Azure about what was chosen")
	root := flags.String("root", ".", "the folder of azure.yaml")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: environment [flags] [NAME]\n\nNAME is the azd environment, AZURE_ENV_NAME when missing: its choices stand in deploy/env/NAME.json.\n\nflags:")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	if name == "" {
		name = getenv("AZURE_ENV_NAME")
	}
	if !environmentName.MatchString(name) {
		return fmt.Errorf("reading the environment's choices: want a name (AZURE_ENV_NAME, or an argument), got %q", name)
	}
	folder := filepath.Join(*root, "deploy", "env")
	file := filepath.Join(folder, name+".json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stdout, "There is no %s: taking default.json beside it. Copy that to make choices of your own.\n", file)
		file = filepath.Join(folder, "default.json")
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return fmt.Errorf("reading the environment's choices: %w", err)
	}
	c, err := parse(data)
	if err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	functions, err := readFunctions(filepath.Join(*root, "functions"))
	if err != nil {
		return err
	}
	if faults := check(c, functions); len(faults) > 0 {
		return fmt.Errorf("checking %s: %w", file, errors.Join(faults...))
	}
	for _, warning := range strangers(c) {
		fmt.Fprintf(stdout, "warning: %s: %s\n", file, warning)
	}
	if c.Timers == nil {
		c.Timers = timers(functions)
	}
	minutes := timerMinutes(functions, c.texts())
	maps.Copy(minutes, c.TimerMinutes)
	c.TimerMinutes = minutes
	if *checkOnly {
		fmt.Fprintf(stdout, "%s: nothing to object to\n", file)
		return nil
	}
	if err := save(filepath.Join(*root, ".azure", name, "config.json"), c); err != nil || !*preflight {
		return err
	}
	cmd := exec.Command("sh", "deploy/scripts/preflight")
	cmd.Dir = *root
	cmd.Env = append(append(os.Environ(), "AZURE_ENV_NAME="+name), chosen(c)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running deploy/scripts/preflight: %w", err)
	}
	return nil
}

// chosen is what scripts/preflight has to know of the choices, as variables of its environment. All
// are always there, so that none is taken from an outer one.
func chosen(c *choices) []string {
	apim, vault := c.existingService(), c.Vault
	if apim == nil {
		apim = new(existing)
	}
	if vault == nil {
		vault = new(existing)
	}
	publisher, apiName, apiPath := "", "relay", ""
	if c.API != nil {
		publisher = c.API.PublisherEmail
		apiName, apiPath = cmp.Or(c.API.Name, apiName), c.API.Path
	}
	clientID := ""
	if c.Registration != nil {
		clientID = c.Registration.ClientID
	}
	return []string{
		"RELAY_CHOSEN_GROUP=" + c.ResourceGroup,
		"RELAY_CHOSEN_REGIONS=" + strings.Join(c.Locations, " "),
		"RELAY_CHOSEN_PUBLISHER=" + publisher,
		"RELAY_CHOSEN_CLIENT_ID=" + clientID,
		"RELAY_CHOSEN_API=" + apiName,
		"RELAY_CHOSEN_PATH=" + cmp.Or(apiPath, apiName),
		fmt.Sprintf("RELAY_NEW_SERVICE=%t", c.newService()),
		fmt.Sprintf("RELAY_OWN_REGISTRATION=%t", c.External == nil && c.Registration == nil),
		"RELAY_EXISTING_APIM=" + apim.Name,
		"RELAY_EXISTING_APIM_GROUP=" + apim.ResourceGroup,
		"RELAY_EXISTING_APIM_SUBSCRIPTION=" + apim.Subscription,
		"RELAY_EXISTING_VAULT=" + vault.Name,
		"RELAY_EXISTING_VAULT_GROUP=" + vault.ResourceGroup,
		"RELAY_EXISTING_VAULT_SUBSCRIPTION=" + vault.Subscription,
	}
}

// save puts the choices into azd's config of the environment and leaves everything else in it alone.
func save(path string, c *choices) error {
	config := map[string]any{}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading azd's config: %w", err)
	default:
		if err := json.Unmarshal(data, &config); err != nil {
			return fmt.Errorf("reading azd's config: %s: %w", path, err)
		}
	}
	infra, _ := config["infra"].(map[string]any)
	if infra == nil {
		infra = map[string]any{}
	}
	parameters, _ := infra["parameters"].(map[string]any)
	if parameters == nil {
		parameters = map[string]any{}
	}
	parameters["choices"] = c
	infra["parameters"] = parameters
	config["infra"] = infra
	data, err = json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("writing azd's config: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing azd's config: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing azd's config: %w", err)
	}
	return nil
}
