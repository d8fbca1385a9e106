package codec

import "fmt"

// Control encodes and decodes the package's own messages, strictly: see [controlDecOptions].
// Its methods may be called concurrently.
var Control control

type control struct{}

// Marshal encodes v, or fails if the other side would refuse it.
func (control) Marshal(v any) ([]byte, error) {
	data, err := controlEnc.Marshal(v)
	if err == nil {
		err = controlDec.Wellformed(data)
	}
	if err != nil {
		return nil, fmt.Errorf("lahja: cannot encode a control message: %w", err)
	}
	return data, nil
}

// Unmarshal decodes data into v, which is a pointer to a zero value. Keys that v does not have are
// ignored: later versions add some. When it fails, v may be partly filled and is of no use.
func (control) Unmarshal(data []byte, v any) error {
	if err := controlDec.Unmarshal(data, v); err != nil {
		return &decodeError{what: "a control message", cause: err}
	}
	return nil
}
