package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readsForeign are the files that search sentences for words, each with whose words they are: of
// services and programs that give no code. None of them is ours.
var readsForeign = map[string]string{
	"handler/internal/identity/managed.go":   "the identity endpoint's messages, and azidentity's where it names a credential",
	"handler/internal/identity/developer.go": "what az and azd write to their standard error",
	"handler/internal/identity/exchange.go":  "the ids that Entra appends to its messages",
	"handler/internal/relay/refusal.go":      "the gateway's messages about keys",
	"handler/internal/doctor/message.go":     "the gateway's messages about tokens, where a policy lets them through",
	"handler/internal/observe/log.go":        "net/http's log of a client, whose line quotes a peer",
}

// TestNobodySearchesOurEnglish: a cause has a code, so no package finds it in a text of another one. A
// search is a call that compares or cuts text with a literal of two words, or with an error's text.
func TestNobodySearchesOurEnglish(t *testing.T) {
	searches := map[string]bool{"Contains": true, "HasPrefix": true, "HasSuffix": true, "Index": true, "LastIndex": true, "Count": true,
		"Cut": true, "CutPrefix": true, "CutSuffix": true, "EqualFold": true, "Split": true, "MatchString": true, "MustCompile": true, "has": true}
	words := regexp.MustCompile(`[A-Za-z]{2,} [A-Za-z]{2,}`)
	found := map[string]bool{}
	set := token.NewFileSet()
	check := func(file string, n ast.Node) {
		report := func(at token.Pos, what string) {
			found[file] = true
			if readsForeign[file] == "" {
				t.Errorf("%s searches %s: want a code from whoever wrote the text", set.Position(at), what)
			}
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			name := ""
			switch called := n.Fun.(type) {
			case *ast.Ident:
				name = called.Name
			case *ast.SelectorExpr:
				name = called.Sel.Name
			}
			if !searches[name] {
				return
			}
			for _, arg := range n.Args {
				if text, ok := arg.(*ast.BasicLit); ok && text.Kind == token.STRING {
					if value, _ := strconv.Unquote(text.Value); words.MatchString(value) {
						report(n.Pos(), strconv.Quote(value))
					}
				}
				if errorText(arg) {
					report(n.Pos(), "an error's text")
				}
			}
		case *ast.BinaryExpr:
			literal := func(e ast.Expr) bool { _, ok := e.(*ast.BasicLit); return ok }
			if (n.Op == token.EQL || n.Op == token.NEQ) && (errorText(n.X) && literal(n.Y) || errorText(n.Y) && literal(n.X)) {
				report(n.Pos(), "an error's text")
			}
		}
	}
	for _, root := range []string{".", "../internal"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"testdata", "cmd"}, d.Name()):
				return filepath.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			parsed, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			file := filepath.ToSlash(filepath.Join("handler", path))
			ast.Inspect(parsed, func(n ast.Node) bool { check(file, n); return true })
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for file := range readsForeign {
		if !found[file] {
			t.Errorf("%s searches nothing any more: take it out of the list", file)
		}
	}
}

// errorText reports whether an expression is err.Error(), or a call around it.
func errorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Error" && len(call.Args) == 0 {
		return true
	}
	return slices.ContainsFunc(call.Args, errorText)
}
