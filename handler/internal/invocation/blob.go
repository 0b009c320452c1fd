package invocation

import (
	"net/netip"
	"net/url"
	"strings"
)

// blobTrigger: text is a text in a text, with dataType binary it is base64. Metadata holds Uri, Properties, Metadata and the tokens of the
// binding's path; BlobTrigger is missing, since the host leaves out names that end in "trigger".
var blob = shape{ids: []string{"Uri", "Properties.ETag"}}

// blobPath returns container/name, which {blobTrigger} stands for, from the blob's Uri.
func (c *Call) blobPath() (string, bool) {
	raw, ok := find(c.metadata, "Uri")
	if !ok {
		return "", false
	}
	text, _ := decodeValue(raw)
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "", false
	}
	path := strings.TrimPrefix(u.Path, "/")
	// The storage emulator has the account in the path, not in the host's name.
	if _, err := netip.ParseAddr(u.Hostname()); err == nil || u.Hostname() == "localhost" {
		_, path, _ = strings.Cut(path, "/")
	}
	return path, path != ""
}
