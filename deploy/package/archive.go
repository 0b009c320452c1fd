package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"apimrelay/internal/hostfile"
)

// executable is the handler's name in the package; host.json names it as
// customHandler.description.defaultExecutablePath.
const executable = "handler"

// stamp is the time of every entry: the earliest that a zip can hold. The deployed file system
// shows it, nobody reads it.
var stamp = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// functionName is what the Functions host takes as a function's name
// (Azure/azure-functions-host src/WebJobs.Script/Utility.cs, FunctionNameValidationRegex).
var functionName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]{0,127}$`)

type file struct {
	name string // with slashes, below the script root
	mode fs.FileMode
	data []byte
}

// collect reads what belongs into the package and nothing else: a list of what is taken, not of
// what is left out, keeps local.settings.json and editors' files out of it for good.
func collect(root, handler string) ([]file, error) {
	host, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		return nil, fmt.Errorf("reading host.json: %w", err)
	}
	if err := checkHost(host); err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(handler)
	if err != nil {
		return nil, fmt.Errorf("reading the handler: %w", err)
	}
	if err := checkBinary(binary); err != nil {
		return nil, err
	}
	files := []file{{"host.json", 0o644, host}, {executable, 0o755, binary}}
	folder := filepath.Join(root, "functions")
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("reading the functions: %w", err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(folder, entry.Name(), "function.json"))
		if errors.Is(err, fs.ErrNotExist) || !isDir(folder, entry) {
			continue // the host, too, takes no other folder for a function
		}
		if err != nil {
			return nil, fmt.Errorf("reading the function %s: %w", entry.Name(), err)
		}
		if !functionName.MatchString(entry.Name()) {
			return nil, fmt.Errorf("packing the function %q: want a name of letters, digits, - "+
				"and _ that begins with a letter, up to 128", entry.Name())
		}
		if _, err := hostfile.ParseObject(data, hostfile.Options{}); err != nil {
			return nil, fmt.Errorf("packing the function %s: function.json: %w", entry.Name(), err)
		}
		files = append(files, file{entry.Name() + "/function.json", 0o644, data})
	}
	if len(files) == 2 {
		return nil, fmt.Errorf("packing %s: want at least one <Name>/function.json, got none",
			folder)
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

func isDir(folder string, entry fs.DirEntry) bool {
	info, err := os.Stat(filepath.Join(folder, entry.Name())) // follows links, as ReadFile does
	return err == nil && info.IsDir()
}

func checkHost(data []byte) error {
	host, err := hostfile.ParseObject(data, hostfile.Options{})
	if err != nil {
		return fmt.Errorf("reading host.json: %w", err)
	}
	got := ""
	if v := host.Fold("customHandler").Fold("description").Fold("defaultExecutablePath"); v != nil {
		got = v.Text()
	}
	if got != executable {
		return fmt.Errorf("reading host.json: customHandler.description.defaultExecutablePath: "+
			"want %q, got %q: the host would not find the handler", executable, got)
	}
	return nil
}

func checkBinary(data []byte) error {
	parsed, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("checking the handler: want an executable for linux/amd64: %w", err)
	}
	if parsed.Machine != elf.EM_X86_64 {
		return fmt.Errorf("checking the handler: want an executable for linux/amd64, got one for "+
			"%s", parsed.Machine)
	}
	return nil
}

// writeFile writes the package beside its place and moves it there, so that a broken run leaves no
// half of one.
func writeFile(path string, files []file) (sum string, size int64, err error) {
	var buffer bytes.Buffer
	if err := write(&buffer, files); err != nil {
		return "", 0, err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, buffer.Bytes(), 0o644); err != nil {
		return "", 0, fmt.Errorf("writing the package: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return "", 0, fmt.Errorf("writing the package: %w", err)
	}
	digest := sha256.Sum256(buffer.Bytes())
	return hex.EncodeToString(digest[:]), int64(buffer.Len()), nil
}

func write(w io.Writer, files []file) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: stamp}
		header.SetMode(f.mode) // also says that the mode is Unix's
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return fmt.Errorf("packing %s: %w", f.name, err)
		}
		if _, err := entry.Write(f.data); err != nil {
			return fmt.Errorf("packing %s: %w", f.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("closing the package: %w", err)
	}
	return nil
}
