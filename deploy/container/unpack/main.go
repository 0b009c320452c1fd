// Unpack lays a package of deploy/package out as a folder, modes included: the golang image has no unzip.
//
//	go run ./deploy/container/unpack build/relay.zip FOLDER
package main

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: unpack PACKAGE FOLDER")
		os.Exit(2)
	}
	if err := unpack(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func unpack(path, folder string) error {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("opening the package: %w", err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("unpacking %q: want a path inside the folder", f.Name)
		}
		if err := extract(f, filepath.Join(folder, f.Name)); err != nil {
			return fmt.Errorf("unpacking %s: %w", f.Name, err)
		}
	}
	return nil
}

func extract(f *zip.File, path string) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, f.Mode().Perm())
}
