package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// CommandLine is what the pretended Azure CLI was called with.
type CommandLine struct {
	Program string   `json:"program"` // az or azd
	Args    []string `json:"args"`
}

// CommandAnswer is what it does about it.
type CommandAnswer struct {
	Stdout  string `json:"stdout"`
	Stderr  string `json:"stderr"`
	Exit    int    `json:"exit"`
	DelayMS int    `json:"delay_ms"`
	Hang    bool   `json:"hang"`
}

// Command answers "az account get-access-token" and "azd auth token" for the developer. Texts are the CLI's
// (Azure/azure-cli, src/azure-cli-core), as azidentity passes them on: a developer who is not signed in, a missing consent, a
// tenant that the account does not belong to.
func (s *Server) Command(c CommandLine) CommandAnswer {
	entry := &Request{Time: time.Now(), Kind: "azure cli", Method: c.Program, Path: clip(strings.Join(c.Args, " "))}
	if c.Program == "azd" {
		entry.Kind = "azure developer cli"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := s.commandLocked(c, entry)
	status := http.StatusOK
	if answer.Exit != 0 {
		status = http.StatusBadRequest
		entry.Cause = strings.TrimSpace(answer.Stderr)
	}
	if answer.Hang {
		status = 0
	}
	entry.ClientID = AzureCLIClientID
	s.recordLocked(entry, status)
	return answer
}

func (s *Server) commandLocked(c CommandLine, entry *Request) CommandAnswer {
	var out CommandAnswer
	if i := s.faults.find(Latency, ToCLI); i >= 0 {
		out.DelayMS = s.faults.active[i].DelayMS
		s.faults.count(i)
	}
	refuse := func(format string, args ...any) CommandAnswer {
		out.Stderr, out.Exit = "ERROR: "+fmt.Sprintf(format, args...)+"\n", 1
		return out
	}
	resource, tenant, ok := readCommand(c)
	entry.Resource = resource
	developer := s.cfg.Developer
	switch {
	case s.faults.take(Hang, ToCLI):
		entry.Fault, out.Hang = Hang, true
		return out
	case s.faults.take(Garbage, ToCLI):
		entry.Fault, out.Stdout = Garbage, "hello, here is a banner and no JSON\n"
		return out
	case !ok:
		out.Stderr, out.Exit = fmt.Sprintf("ERROR: the sandbox's %s knows 'account get-access-token' only\n", c.Program), 2
		return out
	case developer.SignedOut || s.faults.take(SignedOut, ToCLI) || s.faults.take(SignedOut, ""):
		if c.Program == "azd" {
			return refuse("not logged in, run `azd auth login` to login")
		}
		return refuse("Please run 'az login' to setup account.")
	}
	if tenant != "" && !strings.EqualFold(tenant, s.cfg.TenantID) {
		if !isGUID(tenant) || !strings.EqualFold(tenant, OtherTenantID) {
			return refuse("%s", s.answerOf(s.errorf(90002, tenant), "").Description)
		}
		return refuse("%s", s.answerOf(s.errorf(50020, developer.UPN, s.cfg.TenantID, tenant, AzureCLIClientID), "").Description)
	}
	r, audience := s.cfg.resource(resource)
	if r == nil {
		return refuse("%s", s.answerOf(s.errorf(500011, resource, s.cfg.TenantID), "").Description)
	}
	preAuthorized := false
	for _, id := range r.PreAuthorized {
		preAuthorized = preAuthorized || strings.EqualFold(id, AzureCLIClientID)
	}
	if s.faults.take(NoConsent, ToCLI) || s.faults.take(NoConsent, "") || developer.NoConsent && !preAuthorized || len(r.Scopes) == 0 {
		return refuse("%s\nInteractive authentication is needed. Please run:\naz login --scope %s/.default",
			s.answerOf(s.errorf(65001, AzureCLIClientID), "").Description, resource)
	}
	who := s.developerLocked(r)
	if r.AssignmentRequired && len(who.roles) == 0 {
		return refuse("%s", s.answerOf(s.errorf(50105, r.ClientID, r.Name), "").Description)
	}
	token, err := s.mintLocked(who, r, audience, time.Hour+time.Duration(rand.IntN(30*60))*time.Second, nil)
	if err != nil {
		return refuse("%v", err)
	}
	entry.Token = &token.facts
	value := token.token
	if s.faults.take(EmptyToken, ToCLI) {
		value = ""
	}
	body, _ := json.MarshalIndent(commandOutput(c.Program, value, token, s.cfg.TenantID), "", "  ")
	out.Stdout = string(body) + "\n"
	return out
}

func commandOutput(program, value string, token *minted, tenant string) any {
	if program == "azd" {
		return struct {
			Token     string `json:"token"`
			ExpiresOn string `json:"expiresOn"`
		}{value, token.expires.UTC().Format(time.RFC3339)}
	}
	return struct {
		AccessToken string `json:"accessToken"`
		ExpiresOn   string `json:"expiresOn"`  // local time
		Expires     int64  `json:"expires_on"` // since Azure CLI 2.54
		Sub         string `json:"subscription"`
		Tenant      string `json:"tenant"`
		TokenType   string `json:"tokenType"`
	}{value, token.expires.Local().Format("2006-01-02 15:04:05.000000"), token.expires.Unix(), "5a9d0b0c-0000-4000-8000-0000000005b5", tenant, "Bearer"}
}

// readCommand reads the options that azidentity gives. --scope names a scope, --resource a resource.
func readCommand(c CommandLine) (resource, tenant string, ok bool) {
	want := []string{"account", "get-access-token"}
	if c.Program == "azd" {
		want = []string{"auth", "token"}
	}
	if len(c.Args) < 2 || c.Args[0] != want[0] || c.Args[1] != want[1] {
		return "", "", false
	}
	args := c.Args[2:]
	for i := 0; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "--resource":
			resource = value
		case "--scope", "--scopes":
			resource = strings.TrimSuffix(value, "/.default")
		case "--tenant", "-t", "--tenant-id":
			tenant = value
		case "-o", "--output", "--subscription", "-s", "--claims":
		default:
			continue // a switch without a value
		}
		if !joined {
			i++
		}
	}
	return resource, tenant, resource != ""
}

func (s *Server) developerLocked(r *Resource) principal {
	d := s.cfg.Developer
	return principal{
		clientID: AzureCLIClientID, objectID: d.ObjectID, credential: "0", roles: d.Roles[r.ClientID],
		developer: d, scopes: strings.Join(r.Scopes, " "),
	}
}

func (s *Server) serveCLI(w http.ResponseWriter, r *http.Request) {
	// The command sends a header that a web page cannot send without asking first: no page gets a developer's token.
	var line CommandLine
	if r.Header.Get("X-Sandbox-CLI") == "" || json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForm)).Decode(&line) != nil {
		http.Error(w, "POST /cli is for the sandbox's az and azd", http.StatusForbidden)
		return
	}
	writeJSON(w, http.StatusOK, s.Command(line))
}

// RunCLI is the pretended az (or azd, by program's base name): it asks the issuer at base and does what it says. It returns the exit
// status.
func RunCLI(ctx context.Context, base, program string, args []string, stdout, stderr io.Writer) int {
	body, _ := json.Marshal(CommandLine{Program: strings.TrimSuffix(filepath.Base(program), ".exe"), Args: args})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/cli", bytes.NewReader(body))
	if err != nil {
		fmt.Fprintln(stderr, "ERROR: sandbox az:", err)
		return 1
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Sandbox-CLI", "1")
	client := &http.Client{Transport: &http.Transport{}} // no proxy: the issuer is on loopback
	res, err := client.Do(req)
	if err != nil {
		fmt.Fprintln(stderr, "ERROR: sandbox az: the sandbox does not answer:", err)
		return 1
	}
	defer res.Body.Close()
	var answer CommandAnswer
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		fmt.Fprintf(stderr, "ERROR: sandbox az: reading the sandbox's answer: status %d: %v\n", res.StatusCode, err)
		return 1
	}
	wait := time.Duration(answer.DelayMS) * time.Millisecond
	if answer.Hang {
		wait = time.Hour
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 1
		}
	}
	io.WriteString(stderr, answer.Stderr)
	io.WriteString(stdout, answer.Stdout)
	return answer.Exit
}

// InstallCLI writes az and azd into dir, to be put first on PATH: shell scripts that call "program [args…] az|azd <base> …", which has to
// reach RunCLI. The programs need nothing from the environment.
func InstallCLI(dir, base, program string, args ...string) error {
	for _, name := range []string{"az", "azd"} {
		words := append(append([]string{program}, args...), name, base)
		for i, word := range words {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		script := "#!/bin/sh\nexec " + strings.Join(words, " ") + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			return fmt.Errorf("writing the pretended %s: %w", name, err)
		}
	}
	return nil
}
