set global max_binlog_cache_size = 18446744073709547520;
