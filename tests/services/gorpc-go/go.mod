module gorpc-go

go 1.21
