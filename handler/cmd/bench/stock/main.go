// Stock is the standard library's reverse proxy as it comes, to measure the handler beside. It is never deployed.
package main

import (
	"log"

	"apimrelay/handler/cmd/bench/reference"
)

func main() {
	api, err := reference.FromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(reference.Serve(reference.Stock(api)))
}
