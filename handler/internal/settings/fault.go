package settings

import (
	"fmt"

	"apimrelay/handler/internal/app"
)

func fault(function, setting, hint, format string, args ...any) app.Fault {
	return app.Fault{Function: function, Setting: setting, Text: fmt.Sprintf(format, args...), Hint: hint}
}
