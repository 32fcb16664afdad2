"""The resources of the API, one file each: its endpoints as data, and a class of typed methods.

`closable` has the closing methods that smart trades and deals share, `listing` the paging,
`filters` the check of what a list returns, and `cancelling` what cancelling needs beyond closing.
"""
