-- A character that the new character set does not have is written before the copy.
create table gh_ost_test (id int not null auto_increment primary key, word varchar(60) character set utf8mb4 not null);
insert into gh_ost_test (word) values ('plain'), ('Łódź');
