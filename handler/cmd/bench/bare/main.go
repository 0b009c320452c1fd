// Bare is a reverse proxy with nothing but speed, to measure the handler beside. It is never deployed.
package main

import (
	"log"
	"log/slog"
	"os"

	"apimrelay/handler/cmd/bench/reference"
)

func main() {
	api, err := reference.FromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(reference.Serve(reference.Bare(api, reference.Transport(), slog.New(slog.NewJSONHandler(os.Stdout, nil)))))
}
