package main

import (
	"slices"
	"strings"

	"apimrelay/deploy/functionjson"
)

// function is what the deployment has to know of a function.
type function struct {
	name        string
	timer       bool
	schedule    string   // the timer's, with its %names%
	disabled    bool     // "disabled": true in its function.json
	names       []string // %Name% in its function.json: app settings it cannot start without
	connections []string // as function.json has them, %Name% included
}

func readFunctions(folder string) ([]function, error) {
	found, err := functionjson.Read(folder)
	if err != nil {
		return nil, err
	}
	var all []function
	for _, read := range found {
		f := function{name: read.Name, disabled: read.Disabled}
		for _, binding := range read.Bindings {
			kind, _ := binding["type"].(string)
			if strings.EqualFold(kind, "timerTrigger") {
				f.timer = true
				f.schedule, _ = binding["schedule"].(string)
			}
			if connection, _ := binding["connection"].(string); connection != "" {
				f.connections = append(f.connections, connection)
			}
			for _, value := range binding {
				text, _ := value.(string)
				f.names = append(f.names, functionjson.Names(text)...)
			}
		}
		slices.Sort(f.names)
		f.names = slices.Compact(f.names)
		all = append(all, f)
	}
	return all, nil
}

func timers(functions []function) []string {
	names := []string{}
	for _, f := range functions {
		if f.timer {
			names = append(names, f.name)
		}
	}
	return names
}
