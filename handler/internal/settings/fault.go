package settings

import (
	"fmt"
	"strings"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
)

// causes are those of settings whose value cannot be used, by the setting's name in lower case; any
// other setting's is SettingsValue.
var causes = []struct {
	setting string
	code    cause.Code
}{
	{"functionidentity", cause.IdentityString}, {"targetapp", cause.TargetAppForm},
	{"apimurl", cause.URLForm}, {"apimkey", cause.KeyForm}, {"apimkeysecondary", cause.KeyForm},
	{"apimkeyheader", cause.KeyForm},
}

// fault makes a fault of a setting, with the cause that its value cannot be used.
func fault(function, setting, hint, format string, args ...any) app.Fault {
	name := setting
	if i := strings.LastIndex(name, "__"); i >= 0 {
		name = name[i+2:]
	}
	code := cause.SettingsValue
	for _, c := range causes {
		if strings.EqualFold(c.setting, name) {
			code = c.code
		}
	}
	return faultOf(code, function, setting, hint, format, args...)
}

// faultOf makes a fault of another cause.
func faultOf(code cause.Code, function, setting, hint, format string, args ...any) app.Fault {
	return app.Fault{Cause: code, Function: function, Setting: setting, Text: fmt.Sprintf(format, args...), Hint: hint}
}
