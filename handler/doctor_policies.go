package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"apimrelay/handler/internal/doctor"
	"apimrelay/internal/hostfile"
	"apimrelay/internal/policy"
)

// policyFlags name the files of the policies that apply to one operation.
type policyFlags struct {
	global, product, api, operation string
	fragments, namedValues          string
}

func (p *policyFlags) register(f *flag.FlagSet) {
	f.StringVar(&p.api, "policy", "", "policy `file` of the API, or of any scope, to hold the token against; a <fragment> as well")
	f.StringVar(&p.global, "global-policy", "", "policy `file` of all APIs, which <base /> stands for")
	f.StringVar(&p.product, "product-policy", "", "policy `file` of the product")
	f.StringVar(&p.operation, "operation-policy", "", "policy `file` of the operation")
	f.StringVar(&p.fragments, "fragments", "", "`folder` with the policy fragments: <fragment id>.xml")
	f.StringVar(&p.namedValues, "named-values", "", "`file` with the policy's named values: a JSON object of texts")
}

// any reports whether a policy was named.
func (p *policyFlags) any() bool { return p.global+p.product+p.api+p.operation != "" }

func (p *policyFlags) check() error {
	for flag, value := range map[string]string{"named-values": p.namedValues, "fragments": p.fragments} {
		if value != "" && !p.any() {
			return fmt.Errorf("-%s without -policy", flag)
		}
	}
	return nil
}

// read reads the files. A document that is no policy is a fault in the result: it is a finding, and
// the other checks are made. A file that is not there is an error.
func (p *policyFlags) read() (*doctor.Policies, error) {
	if !p.any() {
		return nil, nil
	}
	all := &doctor.Policies{NamedValues: map[string]string{}}
	read := func(file string) (*policy.Document, error) {
		if file == "" {
			return nil, nil
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading the policy: %w", err)
		}
		defer f.Close()
		d, err := policy.Read(file, f)
		var faults policy.Errors
		if errors.As(err, &faults) {
			for _, one := range faults {
				all.Faults = append(all.Faults, one)
			}
			return nil, nil
		}
		return d, err
	}
	scopes := &all.Sources.Scopes
	for _, one := range []struct {
		into **policy.Document
		file string
	}{{&scopes.Global, p.global}, {&scopes.Product, p.product}, {&scopes.API, p.api}, {&scopes.Operation, p.operation}} {
		d, err := read(one.file)
		if err != nil {
			return nil, err
		}
		*one.into = d
	}
	if err := p.readFragments(all, read); err != nil {
		return nil, err
	}
	if p.namedValues == "" {
		return all, nil
	}
	values, err := hostfile.Texts(p.namedValues)
	if err != nil {
		return nil, fmt.Errorf("reading the named values: %w", err)
	}
	all.NamedValues = values
	return all, nil
}

func (p *policyFlags) readFragments(all *doctor.Policies, read func(string) (*policy.Document, error)) error {
	if p.fragments == "" {
		return nil
	}
	entries, err := os.ReadDir(p.fragments)
	if err != nil {
		return fmt.Errorf("reading the fragments: %w", err)
	}
	all.Sources.Fragments = map[string]*policy.Document{}
	for _, e := range entries {
		id, isXML := strings.CutSuffix(e.Name(), ".xml")
		if !isXML || e.IsDir() {
			continue
		}
		d, err := read(filepath.Join(p.fragments, e.Name()))
		if err != nil {
			return err
		}
		if d != nil {
			all.Sources.Fragments[id] = d
		}
	}
	return nil
}
