package app

// Match fits a path to this function's route alone: a wrapped call names its function, and the host has chosen it already. escapedPath is as for
// [App.Match].
func (f *Function) Match(escapedPath string) (Match, bool) {
	path, ok := splitPath(escapedPath)
	if !ok || f.Route == nil {
		return Match{}, false
	}
	m, ok := f.Route.match(path, f.loose)
	m.Function = f
	return m, ok
}
