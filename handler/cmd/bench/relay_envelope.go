//go:build linux

package main

import (
	"encoding/json"
	"fmt"
)

// hostChunk is the size of the pieces in which the host sends an envelope (recording A-post-1mb).
const hostChunk = 1024

// wrapped is a POST of a text, or a GET, in the host's envelope and the host's chunks.
func (s *set) wrapped(path string) request {
	envelope := fmt.Appendf(nil, `{"Data":{"req":{"Url":"http://app.azurewebsites.net/api/relay%s","Method":"GET","Query":{},"Headers":{"Host":["app.azurewebsites.net"],`+
		`"Accept":["*/*"],"User-Agent":["client/1"],"Content-Type":["application/json"]},"Params":{"path":"%s"},`+
		`"Identities":[{"AuthenticationType":null,"IsAuthenticated":false,"Actor":null,"BootstrapContext":null,"Claims":[],"Label":null,"Name":null,`+
		`"NameClaimType":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name","RoleClaimType":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}],`+
		`"Body":null}},"Metadata":{"Query":{},"Headers":{"Host":"app.azurewebsites.net","Accept":"*/*","User-Agent":"client/1","Content-Type":"application/json"},`+
		`"path":"%s","sys":{"MethodName":"relay","UtcNow":"2026-11-23T16:08:08.934921Z","RandGuid":"0861279e-272a-42a4-8692-611309ad299a"}}}`,
		path, path[1:], path[1:])
	var chunked []byte
	for len(envelope) > 0 {
		n := min(len(envelope), hostChunk)
		chunked = append(fmt.Appendf(chunked, "%X\r\n", n), envelope[:n]...)
		chunked, envelope = append(chunked, "\r\n"...), envelope[n:]
	}
	chunked = append(chunked, "0\r\n\r\n"...)
	return request{body: text{chunked, int64(len(chunked))}, head: []byte("POST /relay HTTP/1.1\r\nHost: 127.0.0.1:36559\r\nX-Azure-Functions-HostVersion: 4.1037.0.0\r\n" +
		"X-Azure-Functions-InvocationId: 26fb2c61-1ed3-4f0e-a595-d901f35f8f0d\r\nUser-Agent: Azure-Functions-Host/4.1037.0.0\r\n" +
		"Transfer-Encoding: chunked\r\nContent-Type: application/json; charset=utf-8\r\n\r\n")}
}

// unwrap reads an answer's envelope, which must hold status 200 and the text; its bytes are what every further answer is compared with.
func unwrap(w *wire, req request, want text) (text, error) {
	var envelope []byte
	if err := w.roundTrip(req, func(b []byte, _ int64) bool { envelope = append(envelope, b...); return true }, -1); err != nil {
		return text{}, err
	}
	var answer struct {
		Outputs struct {
			Res struct {
				StatusCode int    `json:"statusCode"`
				Body       string `json:"body"`
			} `json:"res"`
		}
	}
	if err := json.Unmarshal(envelope, &answer); err != nil {
		return text{}, fmt.Errorf("reading the envelope: %w", err)
	}
	res := answer.Outputs.Res
	if res.StatusCode != 200 || int64(len(res.Body)) != want.size || !want.check([]byte(res.Body), 0) {
		return text{}, fmt.Errorf("want status 200 and a body of %d bytes in the envelope, got %d and %d bytes", want.size, res.StatusCode, len(res.Body))
	}
	return text{envelope, int64(len(envelope))}, nil
}
