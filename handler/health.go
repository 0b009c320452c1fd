package main

import (
	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/server"
	"apimrelay/handler/internal/token"
)

// healthy tells whether any function can work: its settings are in order, and its last fetch of a
// token did not fail, or one is in hand all the same. It asks nobody. An app without functions of
// its own is as healthy as it can be.
func healthy(functions []*server.Function, sources map[*app.Function]*token.Source) bool {
	relaying := 0
	for _, f := range functions {
		if f.Settings.App.Reserved() {
			continue
		}
		relaying++
		if f.Relay == nil {
			continue
		}
		if st := sources[f.Settings.App].State(); !st.Failing || st.Usable {
			return true
		}
	}
	return relaying == 0
}
