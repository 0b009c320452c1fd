package app

func (a *App) findOverlaps() {}
