module orderly/problems

go 1.23
