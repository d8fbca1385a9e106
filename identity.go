package lahja

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
)

// subjectNames is the extension of a certificate that has its subject's alternative names.
var subjectNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// holder is what of a verified certificate stays the same when that is renewed: who says of whom
// that it is his. The key may be another one. A certificate whose holder has signed it, or that
// names nobody, stands for itself alone: whoever likes can make another one like it.
func holder(certificate []byte) string {
	c, err := x509.ParseCertificate(certificate)
	if err != nil || bytes.Equal(c.RawIssuer, c.RawSubject) {
		return string(certificate)
	}
	var names []byte
	for _, e := range c.Extensions {
		if e.Id.Equal(subjectNames) {
			names = e.Value
		}
	}
	if len(c.Subject.Names) == 0 && len(names) == 0 {
		return string(certificate)
	}
	return fmt.Sprintf("%x %x %x", c.RawIssuer, c.RawSubject, names)
}
