-- The clause gives the table another name.
create table gh_ost_test (id int not null primary key);
insert into gh_ost_test values (1);
